//! The kernel's tables. They are explained where no agent runs, and compared with the state of a running agent.

use std::collections::{BTreeMap, BTreeSet};

use portolan_rules::{
    compile::Compiler,
    explanation::{Compiled, Origin, Rules, View},
    frontends::FrontendKey,
    model::Node,
    plane::SetName,
    restart::{node_addresses, read_back},
    ruleset::{ElementData, Family, Name, Ruleset},
    simulate::{Action, Fate, Memory, Outcome, Packet, Probability, SetWrite},
    state::State,
};

use super::scene::Scene;
use crate::{
    agent::Small,
    config::settings::Settings,
    kernel::nftables::{Error as KernelError, Kernel, Tables, Wanted},
    text::first,
};

/// Reads the tables of this compiler, with the rules that the compiler knows.
pub fn tables(mut compiler: &Compiler) -> Result<Ruleset, KernelError> {
    Kernel::open()?.read(&compiler.config().table, &mut compiler)
}

/// Reads the state that the kernel's tables show. Returns `None` if there are no tables.
pub(super) fn read(settings: &Settings) -> Result<Option<Scene>, KernelError> {
    let compiler = Compiler::new(settings.config.clone());
    let kernel = tables(&compiler)?;
    if kernel.tables.is_empty() {
        return Ok(None);
    }
    let table = &settings.config.table;
    let origin = format!(
        "from the kernel's tables {table}, now: no agent listens here, so Pods and what is left out are not shown"
    );
    Ok(Some(Scene::of_ruleset(settings, &kernel, origin)))
}

impl Scene {
    /// Reads the state that a ruleset, such as the kernel's, shows.
    pub fn of_ruleset(settings: &Settings, kernel: &Ruleset, origin: String) -> Self {
        let mut compiler = Compiler::new(settings.config.clone());
        let (services, slices) = read_back(kernel, &settings.node_name);
        let mut state = State::new(Node { name: settings.node_name.clone(), ..Node::default() });
        for service in services {
            state.set_service(&service.name.clone(), Some(service.into()));
        }
        for slice in slices {
            state.set_slice(&slice.name.clone(), Some(slice.into()));
        }
        compiler.set_node_addresses(&node_addresses(kernel));
        Self { is_of_kernel: true, ..Self::new(Compiled::new(compiler, state, kernel), origin) }
    }
}

/// What the kernel does with connections to frontends, to compare it with the state.
pub struct Compared {
    kernel: Rules,
    /// Large sets, which are not read as a whole. Only the elements that packets meet are read, so that reading takes
    /// no longer with many Services.
    unread: Vec<(Family, SetName)>,
    /// Reads elements that rules have added, and elements of large sets.
    connection: Kernel,
}

impl Compared {
    /// Reads the kernel's tables. Returns `None` if this process may not read them, or if the state comes neither from
    /// these tables nor from the agent here.
    pub fn read(scene: &Scene) -> Result<Option<Self>, KernelError> {
        let mut small = Small::new(scene.view().compiler);
        let Some(compared) = Self::read_as(scene, &mut small)? else { return Ok(None) };
        let unread = small.unread.iter().map(|(family, name, _)| (*family, *name)).collect();
        Ok(Some(Self { unread, ..compared }))
    }

    /// Reads the kernel's tables as [`Self::read`] does, for all connections of the client that sends this packet. If
    /// the kernel remembers clients, everything is read.
    pub fn read_for(scene: &Scene, packet: &Packet) -> Result<Option<Self>, KernelError> {
        let Some(mut compared) = Self::read(scene)? else { return Ok(None) };
        if compared.meet(scene, packet)?.written().is_empty() {
            return Ok(Some(compared));
        }
        let mut known = scene.view().compiler;
        Self::read_as(scene, &mut known)
    }

    fn read_as(scene: &Scene, wanted: &mut dyn Wanted) -> Result<Option<Self>, KernelError> {
        let is_here = scene.live.as_ref().is_some_and(|live| live.is_here);
        if !is_here && !scene.is_of_kernel {
            return Ok(None);
        }
        let mut read = || {
            let mut connection = Kernel::open()?;
            let kernel = connection.read(scene.table(), wanted)?.into();
            Ok(Some(Self { kernel, unread: Vec::new(), connection }))
        };
        match read() {
            Err(KernelError::Permission) => Ok(None),
            read => read,
        }
    }

    /// Returns what happens to a packet. Reads the elements that the packet meets in unread sets, one after the other.
    fn meet(&mut self, scene: &Scene, packet: &Packet) -> Result<Outcome, KernelError> {
        let family = Family::of(packet.destination);
        let mut asked = BTreeSet::new();
        loop {
            let outcome = self.view(&scene.view()).meet(packet, &Memory::new());
            let is_unread = |set: &Name| {
                SetName::from_name(set).is_some_and(|name| self.unread.contains(&(family, name)))
            };
            let unread = outcome.missed().into_iter().filter(|(set, _)| is_unread(set));
            let missed: Vec<_> = unread.filter(|missed| asked.insert((*missed).clone())).cloned().collect();
            if missed.is_empty() {
                return Ok(outcome);
            }
            for (name, key) in missed {
                let table = self.kernel.get_mut().and_then(|kernel| kernel.tables.get_mut(&family));
                let sets = table.map(|table| &mut table.sets);
                let Some(set) = sets.and_then(|sets| sets.get_mut(&name)) else { continue };
                let found =
                    self.connection.elements(scene.table(), family, set, std::slice::from_ref(&key))?;
                for (key, element) in found {
                    set.elements.insert(key, element);
                }
            }
        }
    }

    /// Returns what the kernel remembers of the client of this connection. `first` is the outcome that the kernel's
    /// rules would have for the client's first connection.
    pub fn memory(&mut self, table: &str, first: &Outcome) -> Result<Memory, KernelError> {
        let mut memory = Memory::new();
        for (family, name, key) in first.written() {
            let kernel = self.kernel.get().and_then(|kernel| kernel.tables.get(&family));
            let set = kernel.and_then(|table| table.sets.get(&name));
            let Some(set) = set else { continue };
            let found = self.connection.elements(table, family, set, std::slice::from_ref(&key))?;
            let Some(element) = found.get(&key) else { continue };
            let data = if let ElementData::Value(value) = &element.data { Some(value.clone()) } else { None };
            let action = Action::Update { data, timeout_ms: 0 };
            memory.update(&SetWrite { family, set: name, key, action });
        }
        Ok(memory)
    }

    /// Returns the same view, with the rules that the kernel holds.
    pub fn view<'a>(&'a self, view: &View<'a>) -> View<'a> {
        View { rules: &self.kernel, ..*view }
    }

    /// Whether the same happens to a packet, with the same probabilities.
    pub fn is_same(wanted: &Outcome, found: &Outcome) -> bool {
        shares(wanted.fates()) == shares(found.fates())
    }

    /// Describes how the kernel treats connections to a frontend, if this differs from the state.
    pub fn difference(&mut self, scene: &Scene, key: &FrontendKey) -> Result<Option<String>, KernelError> {
        let view = scene.view();
        for origin in [Origin::Pod, Origin::Node, Origin::Outside] {
            let Some(packet) = view.packet_to(origin, key) else { continue };
            let wanted = view.meet(&packet, &Memory::new());
            let found = self.meet(scene, &packet)?;
            if !Self::is_same(&wanted, &found) {
                let from = match origin {
                    Origin::Pod => "a Pod",
                    Origin::Node => "this node",
                    Origin::Outside | Origin::Address(_) => "outside",
                };
                return Ok(Some(format!("from {from}: {}", listed(&shares(found.fates())))));
            }
        }
        Ok(None)
    }
}

/// Returns fates and their probabilities as text, sorted by fate.
fn shares(fates: impl IntoIterator<Item = (Fate, Probability)>) -> BTreeMap<String, String> {
    fates.into_iter().map(|(fate, share)| (fate.to_string(), share.to_string())).collect()
}

/// Most fates that are listed.
const NAMED: usize = 4;

fn listed(fates: &BTreeMap<String, String>) -> String {
    first(&fates.iter().map(|(fate, share)| format!("{share} {fate}")).collect::<Vec<_>>(), NAMED)
}
