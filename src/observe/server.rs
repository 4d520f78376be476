//! The HTTP servers: health, metrics, and the health checks of Services. They share one thread, the only one with
//! asynchronous code, and never wait for the kernel.

mod health;
mod listen;
mod metrics;
mod service_checks;
mod status;

use std::{io, net::SocketAddr, sync::Arc, time::Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config::Origin,
    kernel::nftables::Features,
    observe::{
        events::Recorder,
        health::{Health, ServiceHealth},
        metrics::Metrics,
    },
};
use listen::Server;

/// What the servers need to know.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// Name of this node, for people.
    pub node_name: Arc<str>,
    /// Where `/healthz`, `/livez` and `/readyz` are (`healthzBindAddress`); `None` for nowhere.
    pub healthz: Option<SocketAddr>,
    /// Where `/metrics` and its like are (`metricsBindAddress`); `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether an address that cannot be bound is an error (`bindAddressHardFail`); if not, it is tried again every
    /// five seconds.
    pub bind_hard_fail: bool,
    /// Who named the addresses.
    pub origin: Origin,
    /// What the kernel can do, for people.
    pub features: Features,
    /// What `/configz` shows: the configuration as it is in effect.
    pub config: serde_json::Value,
}

/// Why the servers could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address could not be bound, and that is to be an error.
    #[error("{option} {address}: {source}")]
    Bind {
        /// The flag, or file and field, that names it.
        option: String,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no thread or no event queue to run on.
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] io::Error),
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Shared {
    settings: Arc<ServerSettings>,
    health: Health,
    metrics: Metrics,
    started: Instant,
}

/// Starts all servers on a thread of their own. SIGTERM and SIGINT call `stop` there; the servers then go on until
/// the process ends. The reconciler keeps what is returned.
pub fn start(
    settings: ServerSettings,
    health: Health,
    metrics: Metrics,
    recorder: Recorder,
    stop: impl FnOnce() + Send + 'static,
) -> Result<ServiceHealth, ServerError> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (service_health, checks) = ServiceHealth::new();
    let shared = Shared { settings: Arc::new(settings), health, metrics, started: Instant::now() };
    let settings = &shared.settings;
    let bind = |field, address: Option<SocketAddr>, connections| {
        let option = settings.origin.name(field);
        address.map(|address| Server::bind(option, address, connections, settings.bind_hard_fail)).transpose()
    };
    // Signals count from here on, and errors are found, before the thread starts.
    let (signals, servers) = {
        let _guard = runtime.enter();
        let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let healthz = bind("healthzBindAddress", settings.healthz, health::CONNECTIONS)?;
        let metrics = bind("metricsBindAddress", settings.metrics, metrics::CONNECTIONS)?;
        (signals, [healthz.zip(Some(health::router(&shared))), metrics.zip(Some(metrics::router(&shared)))])
    };
    let service_checks = service_checks::ServiceChecks::new(checks, &shared, recorder);
    let serving = move || {
        runtime.block_on(async move {
            for (server, router) in servers.into_iter().flatten() {
                tokio::spawn(server.serve(router));
            }
            tokio::spawn(service_checks.serve());
            let [mut terminate, mut interrupt]: [Signal; 2] = signals;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop();
            // The process ends soon; until then requests are answered.
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new().name("servers".into()).spawn(serving)?;
    Ok(service_health)
}

/// Lets the process open as many files as it may: each health check of a Service takes a socket for each address,
/// and the usual soft limit of 1,024 is there for the sake of `select(2)`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // If it may not, sockets that are too many fail to bind, and say so.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}
