//! The health checks of Services: at each `healthCheckNodePort`, reports whether this node has endpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderName, StatusCode,
        header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
};
use portolan_rules::{model::ObjectName, ruleset::Family, selection::health_check_node_port::HealthCheck};
use tokio::{task::JoinHandle, time::sleep};
use tracing::{info, warn};

use super::{
    listen::{Limit, bind_in_family, serve},
    shared::Shared,
};
use crate::{
    observe::{
        events::{Recorder, Warning},
        health::{Health, HealthChecks},
    },
    retry::BIND_RETRY,
    tracked::Change,
};

/// Most connections at a time, over all Services.
const CONNECTIONS: usize = 1024;

/// The header with the number of endpoints on this node: load balancers may use it as a weight.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The listeners of all Services.
pub struct ServiceChecks {
    inbox: HealthChecks,
    health: Health,
    recorder: Recorder,
    node_name: Arc<str>,
    connections: Limit,
    addresses: BTreeSet<IpAddr>,
    services: BTreeMap<ObjectName, Service>,
}

/// One Service: its response and its sockets.
struct Service {
    port: u16,
    answer: Arc<Answer>,
    sockets: BTreeMap<IpAddr, Socket>,
}

impl Service {
    /// Whether `check` needs exactly the sockets of this Service.
    fn has_sockets_of(&self, check: &HealthCheck) -> bool {
        let families = self.answer.local_endpoints.iter().zip(check.local_endpoints);
        self.port == check.port && families.into_iter().all(|(a, b)| a.is_some() == b.is_some())
    }
}

/// The response of a Service. On the addresses of each family, it counts the endpoints of that family or, if the
/// Service has only one family, those of that family: load balancers probe either.
struct Answer {
    name: ObjectName,
    /// By family; `None` for a family that the Service does not have.
    local_endpoints: [Option<AtomicUsize>; Family::ALL.len()],
    health: Health,
}

impl Answer {
    /// The number of endpoints on this node that is reported on addresses of a family.
    fn local_endpoints(&self, family: Family) -> Option<&AtomicUsize> {
        let of_family = self.local_endpoints.get(family as usize)?.as_ref();
        of_family.or_else(|| self.local_endpoints.iter().flatten().next())
    }
}

/// A socket of a Service.
enum Socket {
    /// The task that serves it.
    Listening(JoinHandle<()>),
    /// The socket could not be bound, which has been logged.
    Failed,
}

impl Socket {
    /// Closes the socket and its connections. Once this returns, the port is free.
    async fn close(self) {
        if let Self::Listening(task) = self {
            task.abort();
            let _ = task.await;
        }
    }
}

impl ServiceChecks {
    /// Creates the checks, without any Service yet.
    pub fn new(inbox: HealthChecks, shared: &Shared, recorder: Recorder) -> Self {
        Self {
            inbox,
            health: shared.health.clone(),
            recorder,
            node_name: shared.settings.node.node_name.clone(),
            connections: Limit::new(CONNECTIONS),
            addresses: BTreeSet::new(),
            services: BTreeMap::new(),
        }
    }

    /// Serves until the reconciler is gone.
    pub async fn serve(mut self) {
        loop {
            let failing = self.inbox.failing.load(Ordering::Relaxed) > 0;
            let change = tokio::select! {
                change = self.inbox.changes.recv() => change,
                () = sleep(BIND_RETRY), if failing => Some(Change::Services(Vec::new())),
            };
            match change {
                Some(Change::Services(changes)) => self.update(changes).await,
                Some(Change::Addresses(addresses)) => self.move_to(addresses).await,
                None => return,
            }
        }
    }

    async fn update(&mut self, changes: Vec<(ObjectName, Option<HealthCheck>)>) {
        // Old sockets are closed before new ones are opened: a port may pass from one Service to another.
        let mut is_new = false;
        for (name, check) in changes {
            if let (Some(service), Some(check)) = (self.services.get(&name), &check)
                && service.has_sockets_of(check)
            {
                for (known, new) in service.answer.local_endpoints.iter().zip(check.local_endpoints) {
                    if let (Some(known), Some(new)) = (known, new) {
                        known.store(new, Ordering::Relaxed);
                    }
                }
                continue;
            }
            self.close(&name).await;
            if let Some(HealthCheck { port, local_endpoints }) = check {
                let health = self.health.clone();
                let local_endpoints = local_endpoints.map(|count| count.map(AtomicUsize::new));
                let answer = Arc::new(Answer { name: name.clone(), local_endpoints, health });
                self.services.insert(name, Service { port, answer, sockets: BTreeMap::new() });
                is_new = true;
            }
        }
        if is_new || self.inbox.failing.load(Ordering::Relaxed) > 0 {
            self.bind_missing();
        }
    }

    async fn move_to(&mut self, addresses: BTreeSet<IpAddr>) {
        for service in self.services.values_mut() {
            for (_, socket) in service.sockets.extract_if(.., |at, _| !addresses.contains(at)) {
                socket.close().await;
            }
        }
        self.addresses = addresses;
        self.bind_missing();
    }

    async fn close(&mut self, name: &ObjectName) {
        let Some(service) = self.services.remove(name) else { return };
        for (_, socket) in service.sockets {
            socket.close().await;
        }
        info!(service = %name, port = service.port, "Health check closed");
    }

    /// Binds every socket that is not bound yet. Logs each failure only once.
    fn bind_missing(&mut self) {
        let mut failing = 0;
        for (name, service) in &mut self.services {
            let mut errors = Vec::new();
            let mut listens = false;
            let has_family = |at: &&IpAddr| service.answer.local_endpoints(Family::of(**at)).is_some();
            for address in self.addresses.iter().filter(has_family) {
                let known = service.sockets.get(address);
                if matches!(known, Some(Socket::Listening(_))) {
                    continue;
                }
                let at = SocketAddr::new(*address, service.port);
                match bind_in_family(at) {
                    Ok(listener) => {
                        let answer = (service.answer.clone(), Family::of(*address));
                        let router = Router::new().fallback(check).with_state(answer);
                        let task = tokio::spawn(serve(listener, self.connections.clone(), router));
                        service.sockets.insert(*address, Socket::Listening(task));
                        listens = true;
                    }
                    Err(error) => {
                        if known.is_none() {
                            errors.push(format!("{at}: {error}"));
                        }
                        service.sockets.insert(*address, Socket::Failed);
                        failing += 1;
                    }
                }
            }
            if listens {
                info!(service = %name, port = service.port, "Health check listens");
            }
            if !errors.is_empty() {
                let errors = errors.join(", ");
                let (node, port) = (&self.node_name, service.port);
                warn!(service = %name, port, error = errors, "Health checks cannot be answered; trying again");
                self.recorder.warn(Warning {
                    service: name.clone(),
                    reason: "FailedToStartServiceHealthcheck",
                    action: "Listen",
                    note: format!("node {node} cannot answer health checks on port {port}: {errors}").into(),
                });
            }
        }
        self.inbox.failing.store(failing, Ordering::Relaxed);
    }
}

type Response = (StatusCode, [(HeaderName, String); 3], String);

/// Responds to any request as kube-proxy does.
async fn check(State((answer, family)): State<(Arc<Answer>, Family)>) -> Response {
    let count = answer.local_endpoints(family).map_or(0, |count| count.load(Ordering::Relaxed));
    let healthy = answer.health.report().healthy;
    let code = if count > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let headers = [
        (CONTENT_TYPE, "application/json".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (WEIGHT, count.to_string()),
    ];
    (code, headers, body(&answer.name, count, healthy))
}

/// The body, indented as in kube-proxy. Names of objects contain no character that JSON would escape.
fn body(name: &ObjectName, count: usize, healthy: bool) -> String {
    let ObjectName { namespace, name } = name;
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::{Options, options::HOSTNAME_OVERRIDE, settings::RunSettings};

    /// A loopback address that no other test uses, so that its ports stay free.
    fn own_address(test: u8) -> Ipv4Addr {
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 100 + test, high, low)
    }

    /// A port that another socket occupies.
    fn taken(address: Ipv4Addr) -> (std::net::TcpListener, u16) {
        let blocker = std::net::TcpListener::bind((address, 0)).unwrap();
        let port = blocker.local_addr().unwrap().port();
        (blocker, port)
    }

    fn checks(recorder: Recorder) -> (crate::observe::health::ServiceHealth, ServiceChecks) {
        let (reconciler, inbox) = crate::observe::health::ServiceHealth::new();
        let options = Options::of(&[(&HOSTNAME_OVERRIDE, "node-a")]);
        let settings = RunSettings::resolve(&options, None, false).unwrap();
        let shared = Shared {
            settings: Arc::new(settings),
            features: Arc::default(),
            health: Health::default(),
            metrics: crate::observe::metrics::Metrics::default(),
            history: crate::observe::history::History::new("portolan".into()),
            asker: crate::observe::query::Asker::new(|_| false),
            counters: None,
            started: std::time::Instant::now(),
        };
        (reconciler, ServiceChecks::new(inbox, &shared, recorder))
    }

    fn is_listening(checks: &ServiceChecks, name: &ObjectName) -> bool {
        let service = checks.services.get(name).unwrap();
        service.sockets.values().all(|socket| matches!(socket, Socket::Listening(_)))
    }

    #[tokio::test]
    async fn a_taken_port_is_reported_once_and_bound_when_it_is_free() {
        let (recorder, mut warnings) = Recorder::new();
        let (_reconciler, mut checks) = checks(recorder);
        let address = own_address(0);
        let (blocker, port) = taken(address);
        let name = ObjectName::new("shop", "web");
        checks.move_to(BTreeSet::from([address.into()])).await;
        let check = HealthCheck { port, local_endpoints: [Some(1), None] };
        checks.update(vec![(name.clone(), Some(check))]).await;
        let warning = warnings.try_recv().unwrap();
        assert_eq!(warning.service, name);
        assert_eq!(warning.reason, "FailedToStartServiceHealthcheck");
        let expected = format!(
            "node node-a cannot answer health checks on port {port}: {address}:{port}: Address already in use (os error 98)"
        );
        assert_eq!(&*warning.note, expected);
        assert_eq!(checks.inbox.failing.load(Ordering::Relaxed), 1);

        checks.update(Vec::new()).await;
        assert!(warnings.try_recv().is_err(), "reported once");
        assert!(!is_listening(&checks, &name));
        drop(blocker);
        checks.update(Vec::new()).await;
        assert!(is_listening(&checks, &name));
        assert_eq!(checks.inbox.failing.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_port_may_pass_from_one_service_to_another_at_once() {
        let (recorder, mut warnings) = Recorder::new();
        let (_reconciler, mut checks) = checks(recorder);
        let address = own_address(1);
        // Both are taken at the same time, so that they differ.
        let ports = [taken(address), taken(address)].map(|(_, port)| port);
        let [a, b] = ["a", "b"].map(|name| ObjectName::new("shop", name));
        let check = |port| Some(HealthCheck { port, local_endpoints: [Some(1), None] });
        checks.move_to(BTreeSet::from([address.into()])).await;
        checks.update(vec![(a.clone(), check(ports[0])), (b.clone(), check(ports[1]))]).await;
        checks.update(vec![(a.clone(), check(ports[1])), (b.clone(), check(ports[0]))]).await;
        assert!(is_listening(&checks, &a) && is_listening(&checks, &b));
        checks.update(vec![(a, None), (b.clone(), check(ports[1]))]).await;
        assert!(is_listening(&checks, &b));
        assert!(warnings.try_recv().is_err(), "no port was ever taken");
    }

    #[test]
    fn the_body_is_json_indented_with_tabs() {
        let body = body(&ObjectName::new("shop", "web"), 2, true);
        let expected = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\
                        \t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(body, expected);
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }
}
