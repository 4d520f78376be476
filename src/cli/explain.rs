//! What the commands that explain have in common: the input, compiled for a node.

pub mod agent;
pub(super) mod cluster;
pub mod kernel;
pub mod socket;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use portolan_rules::{
    explanation::{Compiled, View},
    frontends::FrontendKind,
    model::ObjectName,
    ruleset::Ruleset,
    simulate::Probability,
};

pub use self::{agent::Live, kernel::Compared, socket::SocketError};
use super::{
    arguments::{InputArgs, ViewArgs},
    input::{self, Input},
};
use crate::{
    config::{self, options::HOSTNAME_OVERRIDE, settings::Settings},
    observe::query::Wanted,
    source::{cluster as api, manifest::Completeness},
};

/// The exit status for input that cannot be used, and other errors.
pub fn error() -> ExitCode {
    ExitCode::from(2)
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the flags.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Of the API server.
    #[error(transparent)]
    Cluster(#[from] api::Error),
    /// Of the agent.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Of its answer.
    #[error(transparent)]
    Agent(#[from] agent::Unreadable),
    /// Of the kernel.
    #[error(transparent)]
    Kernel(#[from] crate::kernel::nftables::Error),
    /// There is no source.
    #[error(
        "nothing to explain: no agent listens at {}, and there is no kubeconfig; give -f FILE or --kubeconfig FILE",
        .0.display()
    )]
    NoSource(std::path::PathBuf),
}

/// The state of a cluster, compiled as a node would.
pub struct Scene {
    compiled: Compiled,
    /// Whether all of the input could be used.
    pub is_whole: bool,
    /// The Services that cannot be used at all, and why.
    pub unusable: BTreeMap<ObjectName, String>,
    /// Where it comes from, how old it is, and whose view it is: for people.
    pub origin: String,
    /// The agent, if the state is that of a running one.
    pub live: Option<Live>,
    /// Whether the state is that of the kernel's own tables.
    is_of_kernel: bool,
}

impl Scene {
    /// Gets the state and compiles it; if that fails, it is reported, and this is the exit status.
    pub fn open(args: &ViewArgs) -> Result<Self, ExitCode> {
        Self::open_for(args, &Wanted::All)
    }

    /// The same for a command that needs no other Services than these.
    pub fn open_for(args: &ViewArgs, wanted: &Wanted) -> Result<Self, ExitCode> {
        Self::of(Self::read(args, wanted))
    }

    /// The same of a cluster's API server, whether or not an agent runs here.
    pub fn of_cluster(args: &ViewArgs) -> Result<Self, ExitCode> {
        let read = |settings| cluster::read(&args.source, settings, &Wanted::All);
        Self::of(Self::settings(args).and_then(read).map(Some))
    }

    /// Reads and compiles manifests as this node sees them.
    pub fn of_input(args: &InputArgs) -> Result<Self, ExitCode> {
        let read = || {
            let input = input::read(args)?;
            Ok(Self::of_files(input, &args.source().filenames))
        };
        Self::of(read())
    }

    fn of(read: Result<Option<Self>, Error>) -> Result<Self, ExitCode> {
        match read {
            Ok(scene) => scene.ok_or_else(error),
            Err(failure) => {
                super::fail(&failure);
                Err(error())
            }
        }
    }

    /// Gets the state and compiles it. Nothing if no object of it can be used, which was reported.
    fn read(args: &ViewArgs, wanted: &Wanted) -> Result<Option<Self>, Error> {
        let settings = Self::settings(args)?;
        if args.source.filenames.is_empty() {
            return Self::read_live(args, settings, wanted).map(Some);
        }
        Ok(Self::of_files(input::files(settings, &args.source), &args.source.filenames))
    }

    /// The settings of the rules of the node whose view it is.
    pub fn settings(args: &ViewArgs) -> Result<Settings, Error> {
        let mut options = args.source.options.0.clone();
        if let Some(node) = &args.node {
            options.set(&HOSTNAME_OVERRIDE, Some(node.clone().into()));
        }
        Ok(input::settings(&options, &args.source.read)?)
    }

    /// Nothing if no object can be used.
    pub fn of_files(input: Input, paths: &[PathBuf]) -> Option<Self> {
        let paths = paths.iter().map(|path| path.display().to_string());
        let origin = format!("from {}", paths.collect::<Vec<_>>().join(", "));
        (input.completeness != Completeness::Nothing).then(|| Self::compile(input, &origin))
    }

    /// Gets the state of the agent that runs here, or of a cluster.
    fn read_live(args: &ViewArgs, settings: Settings, wanted: &Wanted) -> Result<Self, Error> {
        let is_cluster = is_plugin() || args.source.is_cluster() || args.node.is_some();
        if is_cluster && args.socket.is_none() {
            return cluster::read(&args.source, settings, wanted);
        }
        let socket = agent::socket_of(args.socket.as_deref(), &settings);
        let nobody = match agent::read(&socket, wanted) {
            Err(Error::Socket(nobody @ SocketError::Nobody(_))) => nobody,
            read => return read,
        };
        if args.socket.is_some() {
            return Err(nobody.into());
        }
        if let Some(scene) = kernel::read(&settings)? {
            return Ok(scene);
        }
        if cluster::is_known() {
            return cluster::read(&args.source, settings, wanted);
        }
        Err(Error::NoSource(socket))
    }

    /// Compiles what was read.
    fn compile(mut input: Input, origin: &str) -> Self {
        let compiler = input.compiler();
        let Input { settings, state, completeness, workloads, unusable, .. } = input;
        let stand_ins = if workloads.stand_ins().is_empty() {
            ""
        } else {
            ", with stand-ins for what a cluster would assign"
        };
        Self {
            compiled: Compiled::new(compiler, state, &Ruleset::default()).with_workloads(workloads),
            is_whole: completeness == Completeness::Whole,
            unusable,
            origin: format!("{origin}, as node {} would program it{stand_ins}", settings.node_name),
            live: None,
            is_of_kernel: false,
        }
    }

    /// What the kernel must hold for a running agent's state, given what it holds: slots and numbers are taken over.
    pub fn compiled_for(&self, kernel: &Ruleset) -> Option<Ruleset> {
        Some(self.live.as_ref()?.snapshot.compile(kernel).into_ruleset())
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.view().compiler.config().table
    }

    /// Whether the state is what the kernel of this machine is programmed with, rather than what it would be.
    pub fn is_programmed(&self) -> bool {
        self.live.is_some() || self.is_of_kernel
    }

    /// That there is no such Service, and which name comes nearest. Of a running agent, this asks for all names.
    pub fn no_service(&self, args: &ViewArgs, name: &ObjectName) -> String {
        match &self.live {
            Some(_) => Self::read(args, &Wanted::All)
                .ok()
                .flatten()
                .map_or_else(|| no_service(&self.view(), name), |all| no_service(&all.view(), name)),
            None => no_service(&self.view(), name),
        }
    }

    /// The explanation.
    pub const fn view(&self) -> View<'_> {
        self.compiled.view()
    }
}

/// Whether this is kubectl's plugin, which is about the cluster rather than about the machine that it runs on.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    name.as_deref().and_then(std::path::Path::file_name).is_some_and(|name| name == "kubectl-portolan")
}

/// That there is no such Service, and which name comes nearest.
pub fn no_service(view: &View<'_>, name: &ObjectName) -> String {
    let distance = |other: &ObjectName| strsim::osa_distance(&name.to_string(), &other.to_string());
    let services = view.state.services().map(|(service, _)| &service.name);
    let nearest = services.map(|other| (distance(other), other)).min();
    let nearest = nearest.filter(|(distance, other)| *distance <= 2 || other.name == name.name);
    let hint = nearest.map(|(_, nearest)| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("there is no Service {name} in the input{hint}")
}

/// What kind of frontend it is, in the API's words.
pub const fn kind(kind: FrontendKind) -> &'static str {
    match kind {
        FrontendKind::ClusterIp => "ClusterIP",
        FrontendKind::LoadBalancer => "LoadBalancer",
        FrontendKind::ExternalIp => "externalIP",
        FrontendKind::NodePort => "NodePort",
    }
}

/// A share as a percentage.
pub fn percent(share: &Probability) -> String {
    format!("{:.1} %", share.to_f64() * 100.0)
}
