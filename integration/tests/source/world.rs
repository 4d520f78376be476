//! A source that watches a server, and the objects that the agent would know.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use portolan::{
    agent::{Event, Receiver, queue},
    config::settings::ApiSettings,
    observe::{events::Recorder, health::Health, metrics::Metrics},
    source::{
        Change, SourceEvent, Update,
        cluster::{Cluster, Options, Timing},
    },
};
use portolan_integration::{ApiServer, Namespace, Reply, Resource};
use portolan_rules::model::{self, ObjectName};
use serde_json::{Value, json};

/// Long enough for any machine; only a failing test waits so long.
pub const LONG: Duration = Duration::from_secs(30);

/// Long enough for anything that is immediate on an idle machine; also a timeout that must expire in a test.
pub const SHORT: Duration = Duration::from_secs(2);

/// The timing of a test: short where a test waits for a timeout, long otherwise.
pub fn timing() -> Timing {
    Timing {
        first_retry: Duration::from_millis(10),
        last_retry: Duration::from_millis(50),
        good_after: Duration::from_secs(1),
        idle: LONG,
        patience: LONG,
        ..Timing::default()
    }
}

/// Starts a server in its own namespace.
pub fn server() -> ApiServer {
    let namespace = Namespace::new("source").unwrap_or_else(|error| panic!("{error}"));
    ApiServer::start(&namespace, ([127, 0, 0, 1], 6443).into()).unwrap()
}

/// Starts a server with empty lists and quiet watches of these resources.
pub fn quiet_server<const N: usize>(resources: [Resource; N]) -> ApiServer {
    let server = server();
    for resource in resources {
        server.prepare(resource, [list(resource, 1, &[]), quiet()]);
    }
    server
}

/// Starts a server with empty lists and quiet watches of all resources but Services.
pub fn server_but_services() -> ApiServer {
    quiet_server([Resource::EndpointSlices, Resource::Nodes, Resource::ServiceCidrs])
}

/// Returns the options of a node.
pub fn options(timing: Timing) -> Options {
    Options {
        node_name: "n1".into(),
        proxy_name: None,
        needs_pod_networks: false,
        spread: Duration::ZERO,
        startup_taint: None,
        timing,
    }
}

/// A source, its server, and the objects from its updates.
pub struct World {
    pub server: ApiServer,
    pub inbox: Receiver,
    pub recorder: Recorder,
    pub health: Health,
    pub services: BTreeMap<ObjectName, Arc<model::Service>>,
    pub slices: BTreeMap<ObjectName, Arc<model::EndpointSlice>>,
    pub node: Option<Arc<model::Node>>,
    pub cidrs: Vec<String>,
}

impl World {
    pub fn new(server: ApiServer, timing: Timing) -> Self {
        Self::with_options(server, options(timing))
    }

    pub fn with_options(server: ApiServer, options: Options) -> Self {
        Self::with_settings(server, options, ApiSettings::default())
    }

    /// Creates a world with the server's kubeconfig in place of the one in the settings.
    pub fn with_settings(server: ApiServer, options: Options, settings: ApiSettings) -> Self {
        let api = ApiSettings { kubeconfig: Some(server.kubeconfig()), ..settings };
        let (agent, inbox) = queue(Health::default());
        let (recorder, warnings) = Recorder::new();
        let health = Health::default();
        let shared = health.clone();
        // The source's thread is in the namespace of the thread that starts it.
        let start = move || Cluster::new(&api, options)?.start(shared, &Metrics::default(), warnings, agent);
        server.namespace().enter(start).unwrap_or_else(|error| panic!("{error}"));
        Self {
            server,
            inbox,
            recorder,
            health,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            node: None,
            cidrs: Vec::new(),
        }
    }

    /// Waits for the next update, and applies it.
    #[track_caller]
    pub fn update(&mut self) -> Update {
        let events = self.inbox.recv_timeout(LONG);
        match events.as_deref() {
            Ok([Event::Source(SourceEvent::Update(update))]) => {
                self.apply(update);
                update.clone()
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{error}; requests: {:#?}", self.server.requests()),
        }
    }

    /// Applies updates until this condition is met.
    #[track_caller]
    pub fn update_until(&mut self, condition: impl Fn(&Self) -> bool) {
        while !condition(self) {
            self.update();
        }
    }

    /// Asserts that no update comes.
    #[track_caller]
    pub fn is_quiet(&mut self) {
        sleep(Duration::from_millis(200));
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

    pub fn service_names(&self) -> Vec<&str> {
        self.services.keys().map(|name| &*name.name).collect()
    }

    pub fn port(&self, name: &str) -> u16 {
        self.services[&ObjectName::new("default", name)].ports[0].port
    }

    /// Returns the sorted parameters of the requests for a resource so far, without `timeoutSeconds` and the
    /// selectors, and the times of the requests. Requests that verify a position are left out.
    pub fn queries(&self, resource: Resource) -> Vec<(Instant, String)> {
        let requests = self.server.requests().into_iter().filter(|it| it.resource == Some(resource));
        let requests =
            requests.filter(|it| it.query.get("resourceVersionMatch").is_none_or(|it| it != "Exact"));
        let is_shown = |name: &str| !matches!(name, "timeoutSeconds" | "labelSelector" | "fieldSelector");
        let query = |query: &BTreeMap<String, String>| {
            let shown = query.iter().filter(|(name, _)| is_shown(name));
            shown.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        requests.map(|request| (request.at, query(&request.query))).collect()
    }

    /// Waits for this number of requests for a resource; returns the last one.
    #[track_caller]
    pub fn query(&self, resource: Resource, number: usize) -> String {
        let began = Instant::now();
        loop {
            if let Some((_, query)) = self.queries(resource).get(number - 1) {
                return query.clone();
            }
            let waited = began.elapsed();
            assert!(waited < LONG, "no request {number} of {resource:?}: {:#?}", self.queries(resource));
            sleep(Duration::from_millis(2));
        }
    }
}

pub fn service(name: &str, version: u64, port: u16) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
    })
}

pub fn slice(name: &str, version: u64, addresses: &[&str]) -> Value {
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

pub fn event(r#type: &str, object: &Value) -> Value {
    json!({"type": r#type, "object": object})
}

pub fn added(object: &Value) -> Value {
    event("ADDED", object)
}

pub fn bookmark(version: u64) -> Value {
    event(
        "BOOKMARK",
        &json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
        }),
    )
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    })
}

/// Compresses a text.
pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn expired() -> Value {
    status(410, "Expired", "too old resource version: 9 (30)")
}

/// Returns a list of Services.
pub fn service_list(version: u64, items: &[Value]) -> Value {
    document(Resource::Services, version, items)
}

/// Returns the answer with a list of a kind.
pub fn list(resource: Resource, version: u64, items: &[Value]) -> Reply {
    Reply::json(&document(resource, version, items))
}

/// Returns the document of a list.
pub fn document(resource: Resource, version: u64, items: &[Value]) -> Value {
    json!({
        "kind": format!("{}List", resource.kind()), "apiVersion": resource.version(),
        "metadata": {"resourceVersion": version.to_string()}, "items": items,
    })
}

/// Returns a watch without events.
pub fn quiet() -> Reply {
    Reply::lines([]).and_wait()
}
