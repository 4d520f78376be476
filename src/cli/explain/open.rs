//! Gets the state to explain, from where the arguments say.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use portolan_rules::model::ObjectName;

use super::{
    agent,
    error::Error,
    kernel,
    scene::Scene,
    socket::SocketError,
    words::{error, no_service},
};
use crate::{
    cli::{
        arguments::{InputArgs, SourceArgs, ViewArgs},
        input::{self, Input, cluster},
        output,
    },
    config::{options::HOSTNAME_OVERRIDE, settings::Settings},
    kernel::nftables,
    observe::query::Wanted,
    source::manifest::Completeness,
};

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
        let read = |settings| read_cluster(&args.source, settings, &Wanted::All);
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
                output::fail(&failure);
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
            return read_cluster(&args.source, settings, wanted);
        }
        let socket = agent::socket_of(args.socket.as_deref(), &settings);
        let no_agent = match agent::read(&socket, wanted) {
            Err(Error::Socket(no_agent @ SocketError::NoAgent(_))) => no_agent,
            read => return read,
        };
        if args.socket.is_some() {
            return Err(no_agent.into());
        }
        let tables = match kernel::read(&settings) {
            Ok(Some(scene)) => return Ok(scene),
            Ok(None) => "the kernel has no tables of it",
            Err(Error::Kernel(nftables::Error::Permission)) => "only root may read the kernel's tables",
            Err(error) => return Err(error),
        };
        if cluster::is_known() {
            return read_cluster(&args.source, settings, wanted);
        }
        Err(Error::NoSource { socket, tables })
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
}

/// Lists the cluster of a kubeconfig, or of the Pod that this runs in, and compiles it.
fn read_cluster(args: &SourceArgs, settings: Settings, wanted: &Wanted) -> Result<Scene, Error> {
    let (input, origin) = cluster::list(args, wanted.namespace(), settings)?;
    Ok(Scene::compile(input, &origin))
}

/// Whether this is kubectl's plugin, which is about the cluster rather than about the machine that it runs on.
fn is_plugin() -> bool {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.as_deref().and_then(Path::file_name).is_some_and(|name| name == "kubectl-portolan")
}
