//! Watches a cluster for the agent.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::sleep,
};
use tracing::info;

use super::{
    access::Cluster,
    connect::Error,
    delivery, events,
    kind::{EndpointSlices, Nodes, ServiceCidrs, Services, Watched},
    options::Options,
    outages::Outages,
    reflector::{Reflector, Reporter, Selectors},
    request::Connection,
    startup_taint::StartupTaint,
    store::Store,
};
use crate::{
    observe::{events::Warning, health::Health, metrics::Metrics},
    source::{eligibility::EligibilityTracker, event::Inbox},
};

/// Deltas that wait for delivery; when there are more, reflectors read more slowly.
const DELTAS: usize = 1024;

impl Cluster {
    /// Begins to watch, on a separate thread. Reports changes as [`SourceEvent::Update`](crate::source::SourceEvent::Update), for
    /// the first time when everything is listed, however long that takes. Warnings are written as Events.
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
    let (service_labels, slice_labels) = options.labels();
    let this_node = format!("metadata.name={}", options.node_name);
    let selectors = |labels: &str, fields: &str| Selectors { labels: labels.into(), fields: fields.into() };
    reflect::<Services>(
        &connection,
        selectors(&service_labels, "spec.clusterIP!=None"),
        proxy_name,
        &reporter,
    );
    reflect::<EndpointSlices>(&connection, selectors(&slice_labels, ""), proxy_name, &reporter);
    reflect::<Nodes>(&connection, selectors("", &this_node), proxy_name, &reporter);
    reflect::<ServiceCidrs>(&connection, Selectors::default(), proxy_name, &reporter);
    drop(reporter);
    delivery::deliver(inbox, agent, options).await;
}

/// Keeps the objects of one kind up to date from now on.
fn reflect<W: Watched>(
    connection: &Connection,
    selectors: Selectors,
    proxy_name: Option<&str>,
    reporter: &Reporter,
) {
    let store = Store::<W>::new(proxy_name);
    tokio::spawn(Reflector::new(connection.clone(), selectors, store, reporter.clone()).run());
}
