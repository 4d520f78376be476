//! What the commands that explain have in common: the input, compiled for a node.

mod cluster;

use std::{collections::BTreeSet, net::IpAddr, process::ExitCode};

use portolan_rules::{
    compile::Compiler,
    explanation::{View, Workloads},
    frontends::FrontendKind,
    model::ObjectName,
    ruleset::{Family, Ruleset},
    simulate::{Host, Probability},
    state::State,
};

use super::{
    arguments::ViewArgs,
    input::{self, Input},
};
use crate::{
    config::{self, options::HOSTNAME_OVERRIDE, settings::Settings},
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
}

/// The state of a cluster, compiled as a node would.
pub struct Scene {
    state: State,
    compiler: Compiler,
    ruleset: Ruleset,
    host: Host,
    workloads: Workloads,
    /// Whether all of the input could be used.
    pub is_whole: bool,
    /// Where it comes from, how old it is, and whose view it is: for people.
    pub origin: String,
}

impl Scene {
    /// Gets the state and compiles it; if that fails, it is reported, and this is the exit status.
    pub fn open(args: &ViewArgs) -> Result<Self, ExitCode> {
        match Self::read(args) {
            Ok(scene) => scene.ok_or_else(error),
            Err(failure) => {
                super::fail(&failure);
                Err(error())
            }
        }
    }

    /// Gets the state and compiles it. Nothing if no object of it can be used, which was reported.
    fn read(args: &ViewArgs) -> Result<Option<Self>, Error> {
        let mut options = args.options.0.clone();
        if let Some(node) = &args.node {
            options.set(&HOSTNAME_OVERRIDE, Some(node.clone().into()));
        }
        let settings = Settings::new(&options)?;
        if args.filenames.is_empty() {
            return cluster::read(args, settings).map(Some);
        }
        let source = input::source(&settings, &args.filenames, args.manifests);
        let paths = args.filenames.iter().map(|path| path.display().to_string());
        let origin = format!("from {}", paths.collect::<Vec<_>>().join(", "));
        let mut input = input::load(settings, source, args.logging);
        input.is_this_node = args.node.is_none();
        Ok((input.completeness != Completeness::Nothing).then(|| Self::compile(input, &origin)))
    }

    /// Compiles what was read.
    fn compile(mut input: Input, origin: &str) -> Self {
        let mut compiler = input.compiler();
        let Input { settings, mut state, completeness, workloads, .. } = input;
        compiler.load(&mut state, &Ruleset::default());
        let mut local_addresses: BTreeSet<IpAddr> = state.node().addresses.iter().copied().collect();
        for family in Family::ALL {
            local_addresses.extend(compiler.node_port_addresses(family));
        }
        Self {
            ruleset: compiler.ruleset(),
            host: Host { local_addresses },
            state,
            compiler,
            workloads,
            is_whole: completeness == Completeness::Whole,
            origin: format!("{origin}, as node {} would program it", settings.node_name),
        }
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
