//! A node with the running binary, and its tables.

use std::time::Duration;

use portolan_integration::{
    Agent, CLUSTER_CIDR, Dual, Family, Lab, Manifests, Namespace, Pod, Protocol, Service, Slice, eventually,
    nft,
};
use serde_json::Value;

/// The longest wait for anything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A lab whose node-a has the pods `web-1` and `web-2`, and two Services with these pods, `web` and `api`.
pub struct Scene {
    pub lab: Lab,
    pub manifests: Manifests,
    pub pods: [Pod; 2],
}

impl Scene {
    pub fn new() -> Self {
        let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
        let manifests = Manifests::new().unwrap();
        manifests.put("nodes.yaml", &lab.nodes().map(portolan_integration::Node::object)).unwrap();
        let pods =
            ["web-1", "web-2"].map(|name| lab.node_a.pod(name).unwrap().serve(Protocol::Tcp, 8080).unwrap());
        let scene = Self { lab, manifests, pods };
        for (number, name) in [(1, "web"), (2, "api")] {
            let service = service(name, scene.lab.cluster_ip(number)).of_type("NodePort");
            scene.put(name, &service.node_port(30_080 + u16::from(number)), &scene.pods.each_ref());
        }
        scene
    }

    /// Writes a Service with both families' slices of these pods.
    pub fn put(&self, name: &str, service: &Service, pods: &[&Pod]) {
        let slices = Slice::both(name, ("http", Protocol::Tcp, 8080), pods);
        let objects: Vec<Value> = std::iter::once(service.object()).chain(slices).collect();
        self.manifests.put(&format!("{name}.yaml"), &objects).unwrap();
    }

    pub fn run(&self) -> Agent {
        self.run_with(&[])
    }

    /// Runs the binary on node-a.
    pub fn run_with(&self, arguments: &[&str]) -> Agent {
        let arguments = [&["--cluster-cidr", CLUSTER_CIDR, "-v", "4"], arguments].concat();
        let agent = Agent::start(&self.lab.node_a, self.manifests.path(), &arguments);
        agent.unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn namespace(&self) -> &Namespace {
        self.lab.node_a.namespace()
    }

    /// Runs nft commands on node-a.
    #[track_caller]
    pub fn nft(&self, commands: &str) {
        nft(self.namespace(), &["-f", "-"], commands).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Returns our tables.
    pub fn tables(&self) -> Option<Vec<String>> {
        tables(self.namespace())
    }

    /// Runs these nft commands, and waits until our tables are the same as before.
    #[track_caller]
    pub fn expect_restored(&self, commands: &str) {
        let before = self.tables().expect("our tables");
        self.nft(commands);
        if eventually(PATIENCE, || self.tables().as_ref() == Some(&before)).is_none() {
            let after = self.tables().unwrap_or_default();
            let differs = |one: &[String], other: &[String]| -> Vec<String> {
                one.iter().filter(|line| !other.contains(line)).cloned().collect()
            };
            let (missing, more) = (differs(&before, &after), differs(&after, &before));
            panic!("not restored after {commands:?}: missing {missing:#?}, beyond that {more:#?}");
        }
    }
}

/// Returns a Service with port 80, over TCP.
pub fn service(name: &str, cluster_ip: Dual) -> Service {
    Service::new(name, Family::BOTH.map(|family| cluster_ip.of(family))).port("http", Protocol::Tcp, 80)
}

/// Returns our tables as JSON, one line per object; elements are sorted, since the kernel returns them in the order of
/// their hashes. `None` if one of the tables does not exist.
pub fn tables(namespace: &Namespace) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    for family in ["ip", "ip6"] {
        let text = nft(namespace, &["-j", "list", "table", family, "portolan"], "").ok()?;
        let mut json: Value = serde_json::from_str(&text).ok()?;
        for object in json["nftables"].as_array_mut()? {
            for part in object.as_object_mut()?.values_mut() {
                part.as_object_mut()?.remove("handle");
                if let Some(elements) = part.get_mut("elem").and_then(Value::as_array_mut) {
                    elements.sort_by_key(Value::to_string);
                }
            }
            lines.push(object.to_string());
        }
    }
    // Recreated chains, sets and rules are listed last, so lines are sorted; the order of rules within a chain
    // matters, and is kept.
    lines.sort_by_key(|line| if line.starts_with("{\"rule") { "r".to_owned() } else { line.clone() });
    let (rules, mut rest): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.starts_with("{\"rule"));
    let chain = |line: &String| {
        let rule: Value = serde_json::from_str(line).unwrap_or_default();
        (rule["rule"]["family"].to_string(), rule["rule"]["chain"].to_string())
    };
    let mut rules = rules;
    rules.sort_by_key(chain);
    rest.extend(rules);
    Some(rest)
}

/// Waits until the agent has logged this text; returns the line.
#[track_caller]
pub fn wait_for_line(agent: &Agent, text: &str) -> String {
    let find = || agent.stderr().lines().find(|line| line.contains(text)).map(str::to_owned);
    eventually(PATIENCE, || find().is_some());
    find().unwrap_or_else(|| panic!("no line with {text:?} in:\n{}", agent.stderr()))
}

/// Returns how many log lines contain this text.
pub fn count_lines(agent: &Agent, text: &str) -> usize {
    agent.stderr().lines().filter(|line| line.contains(text)).count()
}
