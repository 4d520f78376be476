//! The cluster source against an API server that answers what the test says.

mod connect;
mod credentials;
mod delivery;
mod events;
mod faults;
mod lists;
mod server;
mod store;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use portolan_rules::model::{self, ObjectName};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use self::server::{Reply, Server};
use super::{Options, Timing, request::Connection, watch};
use crate::{
    agent::{Event, Receiver, queue},
    health::Health,
    source::{Change, Update},
};

const SERVICES: &str = "/api/v1/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
const NODES: &str = "/api/v1/nodes";
const CIDRS: &str = "/apis/networking.k8s.io/v1/servicecidrs";

/// Long enough for any machine; reached only by a test that fails.
const LONG: Duration = Duration::from_secs(30);

/// Long enough for what comes at once on an idle machine; what must be waited out takes no less.
const SHORT: Duration = Duration::from_secs(2);

/// Times of a test: short where a failure is to be waited out, long where it is not the matter.
fn timing() -> Timing {
    Timing {
        first_retry: Duration::from_millis(10),
        last_retry: Duration::from_millis(50),
        initial_events: LONG,
        idle: LONG,
        patience: LONG,
        ..Timing::default()
    }
}

/// A source that watches a server, and what the agent would know.
struct World {
    server: Server,
    inbox: Receiver,
    services: BTreeMap<ObjectName, Arc<model::Service>>,
    slices: BTreeMap<ObjectName, Arc<model::EndpointSlice>>,
    node: Option<Arc<model::Node>>,
    cidrs: Vec<String>,
}

impl World {
    fn new(server: Server, timing: Timing, proxy_name: Option<&str>) -> Self {
        let options = Options {
            node_name: "n1".into(),
            proxy_name: proxy_name.map(Into::into),
            needs_pod_networks: false,
            timing,
        };
        Self::with_options(server, options)
    }

    fn with_options(server: Server, options: Options) -> Self {
        let connection = Connection::new(server.client(), options.timing);
        let (agent, inbox) = queue(Health::default());
        tokio::spawn(async move { watch(connection, &options, None, Health::default(), agent).await });
        Self {
            server,
            inbox,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            node: None,
            cidrs: Vec::new(),
        }
    }

    /// What comes next.
    async fn update(&mut self) -> Update {
        let until = Instant::now() + LONG;
        loop {
            match self.inbox.take().pop() {
                Some(Event::Cluster(update)) => {
                    self.apply(&update);
                    return update;
                }
                Some(other) => panic!("{other:?}"),
                None if Instant::now() < until => sleep(Duration::from_millis(2)).await,
                None => panic!("nothing came; requests: {:#?}", self.server.requests()),
            }
        }
    }

    /// Nothing comes, however long one waits.
    async fn is_quiet(&mut self) {
        sleep(Duration::from_millis(200)).await;
        assert!(self.inbox.take().is_empty());
    }

    fn apply(&mut self, update: &Update) {
        for change in update.changes.clone() {
            match change {
                Change::Service(name, Some(service)) => _ = self.services.insert(name, service),
                Change::Service(name, None) => _ = self.services.remove(&name),
                Change::Slice(name, Some(slice)) => _ = self.slices.insert(name, slice),
                Change::Slice(name, None) => _ = self.slices.remove(&name),
                Change::Services(all) => self.services = all.into_iter().collect(),
                Change::Slices(all) => self.slices = all.into_iter().collect(),
                Change::Node(node) => self.node = node,
                Change::ServiceCidrs(all) => self.cidrs = all.iter().map(ToString::to_string).collect(),
            }
        }
    }

    fn service_names(&self) -> Vec<&str> {
        self.services.keys().map(|name| &*name.name).collect()
    }
}

/// A server where these are there, empty and quiet.
fn quiet_server<const N: usize>(paths: [&str; N]) -> Server {
    let server = Server::new();
    for path in paths {
        server.reply(path, Reply::lines([initial_events_end(1)]).and_wait());
    }
    server
}

/// A server where everything but Services is there, empty and quiet.
fn server_but_services() -> Server {
    quiet_server([SLICES, NODES, CIDRS])
}

fn service(name: &str, version: u64, port: u16) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
    })
}

fn slice(name: &str, version: u64, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({
        "metadata": {
            "name": name, "namespace": "default", "resourceVersion": version.to_string(),
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080}],
        "endpoints": endpoints,
    })
}

fn event(r#type: &str, object: &Value) -> Value {
    json!({"type": r#type, "object": object})
}

fn added(object: &Value) -> Value {
    event("ADDED", object)
}

fn bookmark(version: u64) -> Value {
    event(
        "BOOKMARK",
        &json!({"metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null}}),
    )
}

fn initial_events_end(version: u64) -> Value {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    event(
        "BOOKMARK",
        &json!({"metadata": {"resourceVersion": version.to_string(), "annotations": annotations}}),
    )
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "code": code})
}
