//! Services and endpoints from the Kubernetes API.
//!
//! One task for each kind of object lists and watches it (`reflector`), keeps its objects as the model (`store`), and
//! reports deltas; one passes these on to the agent (`delivery`); one writes Events (`events`). All run on a thread of
//! their own and wait for nothing but the network.

mod action;
mod connect;
mod credentials;
mod decode;
mod delivery;
mod error;
mod events;
mod exec_plugin;
mod gunzip;
mod inspect;
mod kind;
mod list;
mod machine;
mod models;
mod objects;
mod options;
mod outages;
mod proxy;
mod reflector;
mod request;
mod split;
mod startup_taint;
mod store;
#[cfg(test)]
mod tests;
mod timing;
mod warn_once;

use std::sync::Arc;

use http::Uri;
use jiff::Timestamp;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{Receiver, channel},
    time::sleep,
};
use tracing::{info, warn};

use self::{
    connect::IN_CLUSTER_HINT,
    credentials::Credentials,
    kind::Watched,
    outages::Outages,
    reflector::{Reflector, Reporter, Selectors},
    request::Connection,
    startup_taint::StartupTaint,
    store::Store,
};
use super::event::Inbox;
use crate::{
    api::{EndpointSlice, Node, PROXY_NAME_LABEL, Service, ServiceCidr},
    config::settings::ApiSettings,
    observe::{events::Warning, health::Health, metrics::Metrics},
    source::eligibility::EligibilityTracker,
};

pub use self::{
    connect::Error,
    inspect::{Inspection, RIGHTS, Right},
    list::Listed,
    objects::Objects,
    options::Options,
    timing::Timing,
};

/// Labels of slices that belong to a Service with a `ClusterIP`.
const SLICE_LABELS: &str = "!service.kubernetes.io/headless,kubernetes.io/service-name";

/// The labels of the Services of the proxy of this name, and of their slices. Slices that lack the name of a proxy may
/// belong to a Service that has it, as not all writers of slices copy the Service's labels.
fn labels(proxy_name: Option<&str>) -> (String, String) {
    match proxy_name {
        Some(name) => (format!("{PROXY_NAME_LABEL}={name}"), SLICE_LABELS.to_owned()),
        None => (format!("!{PROXY_NAME_LABEL}"), format!("{SLICE_LABELS},!{PROXY_NAME_LABEL}")),
    }
}

/// Deltas that wait for delivery; when there are more, reflectors read more slowly.
const DELTAS: usize = 1024;

/// A cluster that can be watched: its credentials have been read.
pub struct Cluster {
    runtime: Runtime,
    connection: Connection,
    url: Uri,
    options: Options,
    hint: Option<&'static str>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the address and the credentials of the API server; sends nothing yet.
    ///
    /// # Errors
    /// The flags, the kubeconfig or the credentials of the Pod cannot be used.
    pub fn new(api: &ApiSettings, options: Options) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // For name resolution only.
            .max_blocking_threads(4)
            .build()?;
        let config = runtime.block_on(connect::config(api))?;
        let url = config.cluster_url.clone();
        if let Some(proxy) = &config.proxy_url {
            info!(proxy = proxy::shown(proxy), "Using a proxy to reach the API server");
        }
        if config.accept_invalid_certs {
            warn!("insecure-skip-tls-verify: the certificate of the API server is not checked");
        }
        let credentials = runtime.block_on(Credentials::new(config))?;
        let is_in_cluster = api.kubeconfig.is_none() && api.master.is_none();
        let connection = Connection::new(credentials, options.timing, api.is_json);
        Ok(Self { runtime, connection, url, options, hint: is_in_cluster.then_some(IN_CLUSTER_HINT) })
    }

    /// Begins to watch, on a thread of its own. Reports changes as [`Event::Cluster`](crate::source::Event::Cluster),
    /// for the first time when everything is listed, however long that takes. Warnings are written as Events.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        self,
        health: Health,
        metrics: &Metrics,
        warnings: Receiver<Warning>,
        events: impl Inbox,
    ) -> Result<(), Error> {
        let Self { runtime, connection, url, options, hint } = self;
        info!(%url, "API server");
        let connection = connection.counting(&url, metrics.api_requests());
        std::thread::Builder::new().name("cluster".into()).spawn(move || {
            runtime.block_on(async {
                let node_name = Arc::clone(&options.node_name);
                tokio::spawn(events::write(connection.clone(), node_name, warnings));
                watch(connection, &options, hint, health, events).await;
            });
            // Tasks that wait for the network do not delay the end.
            runtime.shutdown_background();
        })?;
        Ok(())
    }
}

/// [`Cluster::new`] and [`Cluster::start`].
///
/// # Errors
/// As theirs.
pub fn start(
    api: &ApiSettings,
    options: Options,
    health: Health,
    metrics: &Metrics,
    warnings: Receiver<Warning>,
    events: impl Inbox,
) -> Result<(), Error> {
    Cluster::new(api, options)?.start(health, metrics, warnings, events)
}

/// Watches until the agent is gone.
async fn watch(
    connection: Connection,
    options: &Options,
    hint: Option<&'static str>,
    health: Health,
    agent: impl Inbox,
) {
    // The Node may be leaving: until it is known, load balancers should avoid it.
    health.set_node_eligible(false);
    sleep(options.spread.mul_f64(fastrand::f64())).await;
    let (deltas, inbox) = channel(DELTAS);
    let outages = Arc::new(Outages::new(hint));
    let eligibility = Arc::new(EligibilityTracker::new(Arc::clone(&options.node_name)));
    let startup_taint = options.startup_taint.as_deref().map(|key| Arc::new(StartupTaint::new(key)));
    if let Some(taint) = &startup_taint {
        let (connection, node) = (connection.clone(), Arc::clone(&options.node_name));
        tokio::spawn(Arc::clone(taint).remove(connection, node, health.clone()));
    }
    let reporter =
        Reporter { deltas, health, outages, eligibility, startup_taint, started: Timestamp::now() };
    let proxy_name = options.proxy_name.as_deref();
    let (service_labels, slice_labels) = labels(proxy_name);
    let this_node = format!("metadata.name={}", options.node_name);
    let spawn = Spawn { connection: &connection, proxy_name, reporter: &reporter };
    spawn.reflector::<Service>(&service_labels, "spec.clusterIP!=None");
    spawn.reflector::<EndpointSlice>(&slice_labels, "");
    spawn.reflector::<Node>("", &this_node);
    spawn.reflector::<ServiceCidr>("", "");
    drop(reporter);
    delivery::deliver(inbox, agent, options).await;
}

struct Spawn<'a> {
    connection: &'a Connection,
    proxy_name: Option<&'a str>,
    reporter: &'a Reporter,
}

impl Spawn<'_> {
    fn reflector<W: Watched>(&self, labels: &str, fields: &str) {
        let selectors = Selectors { labels: labels.to_owned(), fields: fields.to_owned() };
        let store = Store::<W>::new(self.proxy_name);
        tokio::spawn(Reflector::new(self.connection.clone(), selectors, store, self.reporter.clone()).run());
    }
}
