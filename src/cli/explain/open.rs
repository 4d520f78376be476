//! Reads the state to explain from the source that the arguments name.

use std::path::{Path, PathBuf};

use portolan_rules::{explanation::ExplainedService, model::ObjectName};

use super::{agent, kernel, scene::Scene, socket::AgentError, words::no_service};
use crate::{
    cli::{
        arguments::{InputArgs, SourceArgs, ViewArgs},
        input::{self, Input, cluster},
        output::CommandError,
    },
    config::{self, options::HOSTNAME_OVERRIDE, settings::Settings},
    kernel::nftables,
    observe::query::Wanted,
    source::manifest::Completeness,
};

impl Scene {
    /// Reads the state and compiles it.
    pub fn open(args: &ViewArgs) -> Result<Self, CommandError> {
        Self::open_for(args, &Wanted::All)
    }

    /// Reads the state and compiles it, for a command that needs only the wanted Services.
    pub fn open_for(args: &ViewArgs, wanted: &Wanted) -> Result<Self, CommandError> {
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
            Ok(None) => "the kernel has no Portolan tables",
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

    /// Reads the state from a cluster's API server, whether or not an agent runs here, and compiles it.
    pub fn of_cluster(args: &ViewArgs) -> Result<Self, CommandError> {
        read_cluster(&args.source, Self::settings(args)?, &Wanted::All)
    }

    /// Reads and compiles manifests as this node sees them.
    pub fn of_input(args: &InputArgs) -> Result<Self, CommandError> {
        Self::of_files(input::read(args)?, &args.source().filenames)
    }

    /// Returns the settings of the rules, for the node whose view is explained.
    pub fn settings(args: &ViewArgs) -> Result<Settings, config::Error> {
        let mut options = args.source.options.0.clone();
        if let Some(node) = &args.node {
            options.set(&HOSTNAME_OVERRIDE, Some(node.clone().into()));
        }
        input::settings(&options, args.source.config.as_deref())
    }

    /// Compiles what was read from these paths. Fails if no object can be used, which was already reported.
    pub fn of_files(input: Input, paths: &[PathBuf]) -> Result<Self, CommandError> {
        if input.completeness == Completeness::Nothing {
            return Err(CommandError::Reported);
        }
        let paths = paths.iter().map(|path| path.display().to_string());
        Ok(Self::compile(input, &format!("from {}", paths.collect::<Vec<_>>().join(", "))))
    }

    /// Returns the Service of this name.
    pub fn service(&self, args: &ViewArgs, name: &ObjectName) -> Result<ExplainedService, CommandError> {
        self.view().service(name).ok_or_else(|| CommandError::Missing(self.no_service(args, name)))
    }

    /// Returns the message that there is no such Service, with the nearest name. Asks a running agent for all names.
    pub fn no_service(&self, args: &ViewArgs, name: &ObjectName) -> String {
        let all = self.live.as_ref().and_then(|_| Self::open(args).ok());
        no_service(&all.as_ref().unwrap_or(self).view(), name)
    }
}

/// Lists the cluster of a kubeconfig, or of the Pod that this process runs in, and compiles it.
fn read_cluster(args: &SourceArgs, settings: Settings, wanted: &Wanted) -> Result<Scene, CommandError> {
    let (input, origin) = cluster::list(args, wanted.namespace(), settings)?;
    Ok(Scene::compile(input, &origin))
}

/// Whether this process is kubectl's plugin, which explains the cluster rather than the machine that it runs on.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == "kubectl-portolan")
}
