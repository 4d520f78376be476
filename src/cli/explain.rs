//! What the commands that explain have in common: the input, compiled for a node.

use std::{collections::BTreeSet, net::IpAddr};

use portolan_rules::{
    compile::Compiler,
    explanation::{View, Workloads},
    frontends::FrontendKind,
    ruleset::{Family, Ruleset},
    simulate::{Host, Probability},
    state::State,
};

use super::{
    arguments::ViewArgs,
    input::{self, Input},
};
use crate::{agent::NodeFacts, config::settings::SettingsError, source::manifest::Completeness};

/// The input, compiled as a node would.
pub struct Scene {
    state: State,
    compiler: Compiler,
    ruleset: Ruleset,
    host: Host,
    workloads: Workloads,
    /// Whether all of the input could be used.
    pub is_whole: bool,
    /// Which input it is, and whose view: for people.
    pub origin: String,
}

impl Scene {
    /// Reads the input and compiles it. Nothing if no object of it can be used, which was reported.
    pub fn read(args: &ViewArgs) -> Result<Option<Self>, SettingsError> {
        let mut input_args = args.input.clone();
        if args.node.is_some() {
            input_args.node.hostname_override.clone_from(&args.node);
        }
        let Input { settings, mut state, service_cidrs, completeness, workloads, .. } =
            input::read(&input_args)?;
        if completeness == Completeness::Nothing {
            return Ok(None);
        }
        let mut compiler = Compiler::new(settings.config.clone());
        if let Some(lacking) = settings.lacks(state.node()) {
            eprintln!("portolan: warning: {lacking}");
        }
        NodeFacts::new(&settings, state.node()).apply(&mut compiler, &mut state);
        compiler.set_service_cidrs(&mut state, &[service_cidrs, settings.service_cidrs].concat());
        compiler.load(&mut state, &Ruleset::default());
        let mut local_addresses: BTreeSet<IpAddr> = state.node().addresses.iter().copied().collect();
        for family in Family::ALL {
            local_addresses.extend(compiler.node_port_addresses(family));
        }
        let paths = args.input.filenames.iter().map(|path| path.display().to_string());
        let origin = format!(
            "from {}, as node {} would program it",
            paths.collect::<Vec<_>>().join(", "),
            settings.node_name
        );
        Ok(Some(Self {
            ruleset: compiler.ruleset(),
            host: Host { local_addresses },
            state,
            compiler,
            workloads,
            is_whole: completeness == Completeness::Whole,
            origin,
        }))
    }

    /// The explanation.
    pub const fn view(&self) -> View<'_> {
        View {
            state: &self.state,
            compiler: &self.compiler,
            ruleset: &self.ruleset,
            host: &self.host,
            workloads: &self.workloads,
        }
    }
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
