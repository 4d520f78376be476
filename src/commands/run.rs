//! `run`: keep the kernel equal to the manifests.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::mpsc::{Sender, channel},
};

use tracing::{debug, error, info, warn};

use crate::{
    agent::{Agent, Event, FIRST_RETRY, LAST_RETRY, SyncError, reconcile},
    cli::RunArgs,
    health::Health,
    host::AddressMonitor,
    kernel::{self, Kernel},
    logging,
    manifest::{Objects, Source, Watcher},
    metrics::Metrics,
    recorder::Recorder,
    server::{self, ServerError, ServerSettings},
    settings::{Settings, SettingsError},
    source::Change,
};

/// How often `--once` tries.
const ONCE_ATTEMPTS: u32 = 5;

/// Why the agent could not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("--healthz-bind-address: {0:?} is not an address and port such as 0.0.0.0:10256")]
    HealthAddress(String),
    #[error("-f {path}: {source}")]
    Path { path: String, source: std::io::Error },
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    #[error("cannot watch the addresses of this host: {0}")]
    Addresses(std::io::Error),
    #[error("cannot watch the manifests: {0}")]
    Watch(std::io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Servers(#[from] ServerError),
}

/// Runs the agent.
pub fn run(args: &RunArgs) -> ExitCode {
    logging::start(args.input.logging.verbosity);
    match start(args) {
        Ok(code) => code,
        Err(error) => super::fail(&error),
    }
}

fn start(args: &RunArgs) -> Result<ExitCode, StartError> {
    // Everything that can be wrong with the command line is found before anything is touched.
    let settings = Settings::new(&args.input.node)?;
    let health_address = health_address(&args.healthz_bind_address)?;
    for path in args.input.filenames.iter().filter(|path| path.as_os_str() != "-") {
        std::fs::metadata(path)
            .map_err(|source| StartError::Path { path: path.display().to_string(), source })?;
    }
    let kernel = Kernel::open()?;
    let health = Health::default();
    let mut source = Source::new(args.input.filenames.iter().cloned(), &settings.node_name);
    let (recorder, metrics) = (Recorder::default(), Metrics::default());
    let node_name = settings.node_name.clone();
    let mut agent = Agent::new(settings, kernel, health.clone(), recorder.clone(), metrics.clone());

    if args.once {
        let complete = take_over(&mut agent, source.load());
        return Ok(once(&mut agent, complete));
    }
    let (events, inbox) = channel();
    let servers = ServerSettings {
        node_name,
        healthz: health_address,
        metrics: Some(SocketAddr::from(([127, 0, 0, 1], 10249))),
        ..ServerSettings::default()
    };
    let stop = events.clone();
    let service_health = server::start(servers, health, metrics, recorder, move || {
        let _ = stop.send(Event::Stop);
    })?;
    agent.serve_health_checks(service_health);
    watch_addresses(events.clone())?;
    let (watcher, objects) = source.watch().map_err(StartError::Watch)?;
    take_over(&mut agent, objects);
    watch(watcher, events)?;
    reconcile(&mut agent, &inbox);
    info!("Stopping; the rules stay in place");
    Ok(ExitCode::SUCCESS)
}

fn health_address(text: &str) -> Result<Option<SocketAddr>, StartError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    // A bare address means the default port, as for kube-proxy.
    let address = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 10256)));
    address.map(Some).map_err(|_| StartError::HealthAddress(text.to_owned()))
}

/// Takes over what the manifests say at first; says whether all of them could be used.
fn take_over(agent: &mut Agent, objects: Objects) -> bool {
    let Objects { services, slices, node, service_cidrs, ignored, warnings, errors } = objects;
    crate::manifest::report(&warnings, &errors);
    for (kind, count) in ignored {
        debug!(%kind, count, "Objects that do not matter here");
    }
    info!(services = services.len(), endpoint_slices = slices.len(), "Manifests read");
    agent.apply(services.into_iter().map(|(name, service)| Change::Service(name, Some(service))));
    agent.apply(slices.into_iter().map(|(name, slice)| Change::Slice(name, Some(slice))));
    agent.apply([Change::Node(node), Change::ServiceCidrs(service_cidrs)]);
    agent.set_input_incomplete(!errors.is_empty());
    errors.is_empty()
}

fn once(agent: &mut Agent, complete: bool) -> ExitCode {
    let mut wait = FIRST_RETRY;
    for attempt in 1.. {
        match agent.sync() {
            Ok(synced) => {
                info!(operations = synced.operations, "Kernel is equal to the manifests");
                let used = complete && !agent.has_problems();
                return if used { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            Err(error) if attempt == ONCE_ATTEMPTS || !is_transient(&error) => return super::fail(&error),
            Err(error) => warn!("{error}; trying again"),
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(LAST_RETRY);
    }
    ExitCode::FAILURE
}

fn is_transient(error: &SyncError) -> bool {
    matches!(error, SyncError::Kernel(kernel::Error::Unknown(_) | kernel::Error::Io { .. }))
}

/// Watches the addresses of this host on a thread of their own.
fn watch_addresses(events: Sender<Event>) -> Result<(), StartError> {
    let monitor = AddressMonitor::new().map_err(StartError::Addresses)?;
    let watching = move || {
        while monitor.wait().is_ok() {
            if events.send(Event::Addresses).is_err() {
                return;
            }
        }
        error!("The addresses of this host cannot be watched; changes are no longer seen");
    };
    std::thread::Builder::new().name("addresses".into()).spawn(watching).map_err(StartError::Thread)?;
    Ok(())
}

/// Watches the manifests on a thread of their own.
fn watch(mut watcher: Watcher, events: Sender<Event>) -> Result<(), StartError> {
    let watching = move || {
        loop {
            match watcher.wait(None) {
                Ok(update) if update.is_empty() => {}
                Ok(update) => {
                    if events.send(Event::Manifests(update)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    error!(%error, "Manifests cannot be watched; changes are no longer seen");
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("manifests".into()).spawn(watching).map_err(StartError::Thread)?;
    Ok(())
}
