//! Gets the state to explain, from where the arguments say.

use std::path::{Path, PathBuf};

use portolan_rules::{explanation::ExplainedService, model::ObjectName};

use super::{agent, kernel, scene::Scene, socket::AgentError, words::no_service};
use crate::{
    cli::{
        arguments::{InputArgs, SourceArgs, ViewArgs},
        input::{self, Input, cluster},
        output::Failure,
    },
    config::{self, options::HOSTNAME_OVERRIDE, settings::Settings},
    kernel::nftables,
    observe::query::Wanted,
    source::manifest::Completeness,
};

impl Scene {
    /// Gets the state and compiles it.
    pub fn open(args: &ViewArgs) -> Result<Self, Failure> {
        Self::open_for(args, &Wanted::All)
    }

    /// The same for a command that needs no other Services than these.
    pub fn open_for(args: &ViewArgs, wanted: &Wanted) -> Result<Self, Failure> {
        let settings = Self::settings(args)?;
        if !args.source.filenames.is_empty() {
            return Self::of_files(input::files(settings, &args.source), &args.source.filenames);
        }
        let is_cluster = is_plugin() || args.source.is_cluster() || args.node.is_some();
        if is_cluster && args.socket.is_none() {
            return read_cluster(&args.source, settings, wanted);
        }
        let socket = agent::socket_of(args.socket.as_deref(), &settings);
        match agent::read(&socket, wanted) {
            Err(AgentError::NoAgent(_)) if args.socket.is_none() => {}
            read => return Ok(read?),
        }
        let tables = match kernel::read(&settings) {
            Ok(Some(scene)) => return Ok(scene),
            Ok(None) => "the kernel has no tables of it",
            Err(nftables::Error::Permission) => "only root may read the kernel's tables",
            Err(error) => return Err(error.into()),
        };
        if cluster::is_known() {
            return read_cluster(&args.source, settings, wanted);
        }
        let socket = socket.display();
        Err(format!(
            "nothing to explain: no agent listens at {socket}, {tables}, and there is no kubeconfig; give -f FILE or --kubeconfig FILE"
        )
        .into())
    }

    /// The same of a cluster's API server, whether or not an agent runs here.
    pub fn of_cluster(args: &ViewArgs) -> Result<Self, Failure> {
        read_cluster(&args.source, Self::settings(args)?, &Wanted::All)
    }

    /// Reads and compiles manifests as this node sees them.
    pub fn of_input(args: &InputArgs) -> Result<Self, Failure> {
        Self::of_files(input::read(args)?, &args.source().filenames)
    }

    /// The settings of the rules of the node whose view it is.
    pub fn settings(args: &ViewArgs) -> Result<Settings, config::Error> {
        let mut options = args.source.options.0.clone();
        if let Some(node) = &args.node {
            options.set(&HOSTNAME_OVERRIDE, Some(node.clone().into()));
        }
        input::settings(&options, args.source.config.as_deref())
    }

    /// Compiles what was read of these paths. A failure if no object of it can be used, which was reported.
    pub fn of_files(input: Input, paths: &[PathBuf]) -> Result<Self, Failure> {
        if input.completeness == Completeness::Nothing {
            return Err(Failure::Reported);
        }
        let paths = paths.iter().map(|path| path.display().to_string());
        Ok(Self::compile(input, &format!("from {}", paths.collect::<Vec<_>>().join(", "))))
    }

    /// The Service of this name.
    pub fn service(&self, args: &ViewArgs, name: &ObjectName) -> Result<ExplainedService, Failure> {
        self.view().service(name).ok_or_else(|| Failure::Missing(self.no_service(args, name)))
    }

    /// That there is no such Service, and which name comes nearest. Of a running agent, this asks for all names.
    pub fn no_service(&self, args: &ViewArgs, name: &ObjectName) -> String {
        let all = self.live.as_ref().and_then(|_| Self::open(args).ok());
        no_service(&all.as_ref().unwrap_or(self).view(), name)
    }
}

/// Lists the cluster of a kubeconfig, or of the Pod that this runs in, and compiles it.
fn read_cluster(args: &SourceArgs, settings: Settings, wanted: &Wanted) -> Result<Scene, Failure> {
    let (input, origin) = cluster::list(args, wanted.namespace(), settings)?;
    Ok(Scene::compile(input, &origin))
}

/// Whether this is kubectl's plugin, which is about the cluster rather than about the machine that it runs on.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == "kubectl-portolan")
}
