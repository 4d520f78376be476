//! The HTTP servers: health, metrics, and the health checks of Services. They share one thread, the only one with
//! asynchronous code, and never wait for the kernel.

mod health;
pub(crate) mod listen;
pub mod local;
mod metrics;
mod page;
mod service_checks;
mod shared;
mod status;

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use self::shared::{ServerError, Shared};
use crate::{
    config::options::{HEALTHZ_BIND_ADDRESS, METRICS_BIND_ADDRESS},
    observe::{events::Recorder, health::ServiceHealth},
};
use listen::Server;

/// Starts all servers on a thread of their own. SIGTERM and SIGINT call `stop` on that thread; the servers then
/// continue until the process ends. The reconciler keeps the returned value.
pub fn start(
    shared: &Shared,
    recorder: Recorder,
    stop: impl FnOnce() + Send + 'static,
) -> Result<ServiceHealth, ServerError> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (service_health, checks) = ServiceHealth::new();
    let settings = &shared.settings;
    let bind = |field, address: Option<SocketAddr>, connections| {
        let option = settings.origin.name(field);
        address.map(|address| Server::bind(option, address, connections, settings.bind_hard_fail)).transpose()
    };
    // Signals are caught, and errors found, before the thread starts.
    let (signals, servers) = {
        let _guard = runtime.enter();
        let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        let healthz = bind(&HEALTHZ_BIND_ADDRESS, settings.healthz, health::CONNECTIONS)?;
        let metrics = bind(&METRICS_BIND_ADDRESS, settings.metrics, metrics::CONNECTIONS)?;
        (
            signals,
            [
                healthz.zip(Some(health::router(shared))),
                metrics.zip(Some(metrics::router(shared).merge(page::router(shared)))),
            ],
        )
    };
    let local = settings.socket.clone().map(|path| local::serve(path, local::router(shared)));
    let service_checks = service_checks::ServiceChecks::new(checks, shared, recorder);
    let serving = move || {
        runtime.block_on(async move {
            for (server, router) in servers.into_iter().flatten() {
                tokio::spawn(server.serve(router));
            }
            if let Some(local) = local {
                tokio::spawn(local);
            }
            tokio::spawn(service_checks.serve());
            let [mut terminate, mut interrupt]: [Signal; 2] = signals;
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop();
            // The process ends soon; until then, requests are answered.
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new().name("servers".into()).spawn(serving)?;
    Ok(service_health)
}

/// Raises the limit of open files to the hard limit: each health check of a Service takes a socket for each address,
/// and the usual soft limit of 1,024 exists only for `select(2)`.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // If this fails, sockets beyond the limit fail to bind, which is logged.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}
