//! The setup of the tests: a lab, an API server on its router, and the binary on node-a.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{
    Agent, Answer, ApiServer, CLUSTER_CIDR, Client, Family, Lab, Namespace, Node, Pod, Protocol, RealServer,
    Service, Slice, eventually,
};
use serde_json::{Value, json};

/// The longest wait for anything that takes about a second on an idle machine. A failed request is retried after at
/// most half a minute.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// The number of the ClusterIP of Service `web`; a real cluster has already assigned the first ones.
const WEB: u8 = 201;

/// The arguments of the binary.
pub const ARGUMENTS: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];

/// What the tests use of an API server.
pub trait Api {
    /// Returns the path of a kubeconfig for the nodes of the lab.
    fn kubeconfig(&self) -> PathBuf;
    /// Stores objects, new or changed.
    fn put_all(&self, objects: Vec<Value>);
    /// Deletes objects.
    fn delete_all(&self, objects: &[Value]);
    /// Returns all objects.
    fn objects(&self) -> Vec<Value>;
}

impl Api for ApiServer {
    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig()
    }

    fn put_all(&self, objects: Vec<Value>) {
        self.put_all(objects);
    }

    fn delete_all(&self, objects: &[Value]) {
        self.delete_all(objects);
    }

    fn objects(&self) -> Vec<Value> {
        self.objects()
    }
}

impl Api for RealServer {
    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig()
    }

    fn put_all(&self, objects: Vec<Value>) {
        self.put_all(objects);
    }

    fn delete_all(&self, objects: &[Value]) {
        self.delete_all(objects);
    }

    fn objects(&self) -> Vec<Value> {
        self.objects()
    }
}

impl Api for Box<dyn Api> {
    fn kubeconfig(&self) -> PathBuf {
        (**self).kubeconfig()
    }

    fn put_all(&self, objects: Vec<Value>) {
        (**self).put_all(objects);
    }

    fn delete_all(&self, objects: &[Value]) {
        (**self).delete_all(objects);
    }

    fn objects(&self) -> Vec<Value> {
        (**self).objects()
    }
}

/// A lab, an API server that knows the Nodes, and a pod `shell` on node-a.
pub struct Scene<S = ApiServer> {
    pub lab: Lab,
    pub server: S,
    pub shell: Pod,
}

impl Scene<Box<dyn Api>> {
    /// A scene with the server of a kubeconfig, which is reached from this namespace or from the test's own.
    pub fn at(kubeconfig: &Path, way: Option<&Namespace>) -> Self {
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let server = lab.real_server(kubeconfig, way).unwrap();
        server.put_all(lab.nodes().map(Node::object));
        let shell = lab.node_a.pod("shell").unwrap();
        Self { lab, server: Box::new(server), shell }
    }
}

impl Scene {
    /// A scene with the test API server.
    pub fn new() -> Self {
        Self::with_bookmarks(Duration::from_mins(1))
    }

    pub fn with_bookmarks(period: Duration) -> Self {
        if std::env::var_os("PORTOLAN_TEST_KUBECONFIG").is_some() {
            eprintln!(
                "this test has the API server go wrong: it needs the test API server, and runs against that"
            );
        }
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let server = lab.api_server(period).unwrap();
        server.put_all(lab.nodes().map(Node::object));
        let shell = lab.node_a.pod("shell").unwrap();
        Self { lab, server, shell }
    }
}

impl<S: Api> Scene<S> {
    /// Starts Pods `web-1` on node-a and `web-2` on node-b, which answer TCP on port 8080.
    pub fn web_pods(&self) -> [Pod; 2] {
        [(&self.lab.node_a, "web-1"), (&self.lab.node_b, "web-2")]
            .map(|(node, name)| node.pod(name).unwrap().serve(Protocol::Tcp, 8080).unwrap())
    }

    /// Stores Service `web` at [`Scene::web`] with these pods.
    pub fn put_web(&self, pods: &[&Pod]) {
        self.server.put_all(self.web_objects(pods));
    }

    pub fn web_objects(&self, pods: &[&Pod]) -> Vec<Value> {
        let addresses = Family::BOTH.map(|family| self.lab.cluster_ip(WEB).of(family));
        let service = Service::new("web", addresses).port("http", Protocol::Tcp, 80).object();
        let slices = Slice::both("web", ("http", Protocol::Tcp, 8080), pods);
        std::iter::once(service).chain(slices).collect()
    }

    /// The address and port of Service `web`.
    pub fn web(&self) -> SocketAddr {
        self.lab.cluster_ip(WEB).port(Family::V4, 80)
    }

    /// Runs the binary on node-a and waits until it is ready.
    pub fn run(&self) -> Agent {
        self.run_with(&[])
    }

    /// The same, with more arguments.
    pub fn run_with(&self, arguments: &[&str]) -> Agent {
        let arguments = [&ARGUMENTS, arguments].concat();
        let agent = Agent::start_in_cluster(&self.lab.node_a, &self.server.kubeconfig(), &arguments);
        agent.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs the binary on node-a without waiting.
    pub fn spawn_with(&self, arguments: &[&str]) -> Agent {
        let arguments = [&ARGUMENTS, arguments].concat();
        Agent::spawn_in_cluster(&self.lab.node_a, &self.server.kubeconfig(), &arguments).unwrap()
    }

    /// Returns what `portolan diff` reports between node-a's kernel and the server's objects, if they differ.
    pub fn difference(&self) -> Option<String> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": self.server.objects()});
        let binary = portolan_integration::binary().unwrap();
        let arguments = [&["diff", "-f", "-", "--hostname-override", "node-a"][..], &ARGUMENTS].concat();
        let namespace = self.lab.node_a.namespace();
        let output = namespace.output(&binary.to_string_lossy(), &arguments, &list.to_string()).unwrap();
        match output.status.code() {
            Some(0) => None,
            Some(1) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
            code => {
                let error = String::from_utf8_lossy(&output.stderr);
                // Changes are under way.
                assert!(error.contains("the tables changed during"), "portolan diff: {code:?}: {error}");
                Some(error.into_owned())
            }
        }
    }

    /// Waits until node-a's kernel matches the server's objects.
    #[track_caller]
    pub fn wait_until_equal(&self, when: &str) {
        self.wait_until_equal_within(PATIENCE, when);
    }

    #[track_caller]
    pub fn wait_until_equal_within(&self, limit: Duration, when: &str) {
        let mut difference = None;
        let equal = eventually(limit, || {
            difference = self.difference();
            difference.is_none()
        });
        let shown: String = difference.unwrap_or_default().chars().take(4000).collect();
        assert!(equal.is_some(), "{when}: the kernel is not equal to the objects within {limit:?}:\n{shown}");
    }

    /// Waits until exactly these servers answer the pod `shell` at Service `web`.
    #[track_caller]
    pub fn wait_until_served(&self, servers: &[&str], when: &str) {
        self.wait_until_served_at(self.web(), servers, when);
    }

    #[track_caller]
    pub fn wait_until_served_at(&self, target: SocketAddr, servers: &[&str], when: &str) {
        let (client, mut seen) = (self.shell.client().within(Duration::from_secs(3)), Vec::new());
        let served = eventually(PATIENCE, || {
            // If one of two servers gets none of these connections, the loop connects again.
            seen = client.many(Protocol::Tcp, target, 24, 4);
            let names: std::collections::BTreeSet<_> = seen.iter().filter_map(Answer::server).collect();
            seen.iter().all(|answer| answer.server().is_some()) && names.iter().eq(servers)
        });
        assert!(served.is_some(), "{when}: not served by {servers:?}, but: {}", seen[0]);
    }

    /// Waits until Service `web` is no longer answered.
    #[track_caller]
    pub fn wait_until_not_served(&self, when: &str) {
        let client = self.shell.client().within(Duration::from_millis(500));
        wait_until(when, || client.tcp(self.web()).server().is_none());
    }
}

/// Waits for a condition that must come true.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Duration {
    eventually(PATIENCE, condition).unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Runs `work` while a client opens 50 connections a second, and asserts that every connection was served.
pub fn while_connecting<T>(client: &Client, target: SocketAddr, work: impl FnOnce() -> T) -> T {
    struct SetOnDrop<'a>(&'a AtomicBool);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let connect = || {
        let (start, mut count) = (Instant::now(), 0_u32);
        // At least a second, however soon the work is done.
        while !done.load(Ordering::Relaxed) || count < 50 {
            let answer = client.tcp(target);
            assert!(answer.server().is_some(), "connection {count}, after {:?}: {answer}", start.elapsed());
            count += 1;
            thread::sleep((Duration::from_millis(20) * count).saturating_sub(start.elapsed()));
        }
    };
    thread::scope(|scope| {
        let connecting = scope.spawn(connect);
        // Also when the work panics: the scope waits for this thread.
        let end = SetOnDrop(&done);
        let result = work();
        drop(end);
        connecting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        result
    })
}
