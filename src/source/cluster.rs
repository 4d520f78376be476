//! Services and endpoints from the Kubernetes API.
//!
//! One task for each kind of object lists and watches it (`reflector`), keeps what is known of it as the model
//! (`store`), and tells what changes; one gathers that for the agent (`delivery`); one writes Events
//! (`events`). All are on a thread of their own and wait for nothing but the network.

mod connect;
mod credentials;
mod delivery;
mod events;
mod exec_plugin;
mod failure;
mod kind;
mod machine;
mod notices;
mod outages;
mod proxy;
mod reflector;
mod request;
mod split;
mod standing;
mod store;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;

use http::Uri;
use jiff::Timestamp;
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{Receiver, channel},
};
use tracing::{info, warn};

use self::{
    connect::IN_CLUSTER_HINT,
    credentials::Credentials,
    kind::Watched,
    outages::Outages,
    reflector::{Outlet, Reflector},
    request::{Connection, add_parameter},
    standing::Lookout,
    store::Store,
};
use crate::{
    agent::Sender,
    api::{EndpointSlice, Node, PROXY_NAME_LABEL, Service, ServiceCidr},
    config::settings::{ApiSettings, DetectLocal, Settings},
    observe::{events::Warning, health::Health, metrics::Metrics},
};

pub use self::{connect::Error, timing::Timing};

/// Labels of slices that belong to a Service with a `ClusterIP`.
const SLICE_LABELS: &str = "!service.kubernetes.io/headless,kubernetes.io/service-name";

/// What the tasks tell before the agent's messages are made of it; a full one slows reading down.
const TOLD_CAPACITY: usize = 1024;

/// What must be known to watch a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of this node.
    pub node_name: Arc<str>,
    /// Only Services with this value of the label `service.kubernetes.io/service-proxy-name` are asked for; without
    /// it, only those without the label.
    pub proxy_name: Option<Box<str>>,
    /// Whether nothing may be written before this node's object says which networks its pods have
    /// (`spec.podCIDRs`, with `--detect-local-mode NodeCIDR`).
    pub needs_pod_networks: bool,
    /// How long to wait for what.
    pub timing: Timing,
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Self {
            node_name: Arc::clone(&settings.node_name),
            proxy_name: settings.proxy_name.clone(),
            needs_pod_networks: settings.detect_local == DetectLocal::NodeCidr,
            timing: Timing::default(),
        }
    }
}

/// A cluster that can be watched: the credentials are there.
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
    /// Finds out where the API server is, and reads the credentials; sends nothing yet.
    ///
    /// # Errors
    /// The flags, the kubeconfig or the credentials of the Pod cannot be used.
    pub fn new(api: &ApiSettings, options: Options) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // For name resolution alone.
            .max_blocking_threads(4)
            .build()?;
        let config = runtime.block_on(connect::config(api))?;
        let url = config.cluster_url.clone();
        if let Some(proxy) = &config.proxy_url {
            info!(proxy = proxy::shown(proxy), "The API server is reached through a proxy");
        }
        if config.accept_invalid_certs {
            warn!("insecure-skip-tls-verify: anybody on the way can pretend to be the API server");
        }
        let credentials = runtime.block_on(Credentials::new(config))?;
        let is_in_cluster = api.kubeconfig.is_none() && api.master.is_none();
        let connection = Connection::new(credentials, options.timing);
        Ok(Self { runtime, connection, url, options, hint: is_in_cluster.then_some(IN_CLUSTER_HINT) })
    }

    /// Begins to watch, on a thread of its own; the agent is told with [`Event::Cluster`](crate::agent::Event::Cluster), for the first time when
    /// everything is listed, however long that takes. Warnings are written as Events.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        self,
        health: Health,
        metrics: &Metrics,
        warnings: Receiver<Warning>,
        events: Sender,
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
            // Tasks that still wait for the network do not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(())
    }
}

/// [`Cluster::new`] and [`Cluster::start`] at once.
///
/// # Errors
/// As theirs.
pub fn start(
    api: &ApiSettings,
    options: Options,
    health: Health,
    metrics: &Metrics,
    warnings: Receiver<Warning>,
    events: Sender,
) -> Result<(), Error> {
    Cluster::new(api, options)?.start(health, metrics, warnings, events)
}

/// Watches until the agent is gone.
async fn watch(
    connection: Connection,
    options: &Options,
    hint: Option<&'static str>,
    health: Health,
    agent: Sender,
) {
    // Until it is seen, nobody knows that this node is not about to be removed.
    health.set_node_eligible(false);
    let (told, inbox) = channel(TOLD_CAPACITY);
    let outages = Arc::new(Outages::new(hint));
    let lookout = Arc::new(Lookout::new(Arc::clone(&options.node_name)));
    let outlet = Outlet { told, health, outages, lookout, started: Timestamp::now() };
    let proxy_name = options.proxy_name.as_deref();
    let service_labels = match proxy_name {
        Some(name) => format!("{PROXY_NAME_LABEL}={name}"),
        None => format!("!{PROXY_NAME_LABEL}"),
    };
    let this_node = format!("metadata.name={}", options.node_name);
    let spawn = Spawn { connection: &connection, proxy_name, outlet: &outlet };
    spawn.reflector::<Service>(&[
        ("labelSelector", &service_labels),
        ("fieldSelector", "spec.clusterIP!=None"),
    ]);
    spawn.reflector::<EndpointSlice>(&[("labelSelector", SLICE_LABELS)]);
    spawn.reflector::<Node>(&[("fieldSelector", &this_node)]);
    spawn.reflector::<ServiceCidr>(&[]);
    drop(outlet);
    delivery::deliver(inbox, agent, options).await;
}

struct Spawn<'a> {
    connection: &'a Connection,
    proxy_name: Option<&'a str>,
    outlet: &'a Outlet,
}

impl Spawn<'_> {
    fn reflector<W: Watched>(&self, selectors: &[(&str, &str)]) {
        let mut path = W::PATH.to_owned();
        for (name, value) in selectors {
            add_parameter(&mut path, name, value);
        }
        let store = Store::<W>::new(self.proxy_name);
        tokio::spawn(Reflector::new(self.connection.clone(), path, store, self.outlet.clone()).run());
    }
}
