//! Runs the shipped containers unchanged: on nodes with IPv4, with IPv6, and with both, the probes find the agent, and
//! the agent uses exactly the rights that it has.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Container, Probe};
use portolan_integration::{ApiServer, Family, Namespace, Verb, eventually, get};
use serde_json::{Value, json};

use crate::{bundles, configuration, one, rbac};

/// The longest wait for a start, which takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The node name, which the downward API would set.
const NODE: &str = "node-a";

/// A node's namespace with addresses of these families.
struct Node {
    namespace: Namespace,
    addresses: Vec<std::net::IpAddr>,
}

impl Node {
    fn new(families: &[Family]) -> Self {
        let namespace = Namespace::new(NODE).unwrap_or_else(|error| panic!("{error}"));
        let cable = "link add eth0 type veth peer name cable\nlink set eth0 up\nlink set cable up\n";
        namespace.ip(cable).unwrap();
        let mut addresses = Vec::new();
        if families.contains(&Family::V4) {
            namespace.ip("addr add 192.0.2.11/24 dev eth0\nroute add default via 192.0.2.1\n").unwrap();
            addresses.push("192.0.2.11".parse().unwrap());
        } else {
            namespace.ip("addr flush dev lo scope host\naddr add ::1/128 dev lo\n").unwrap();
            let listed = namespace.filter("ip", &["-4", "addr"], "").unwrap();
            assert!(!listed.contains("inet "), "there is an IPv4 address: {listed}");
        }
        if families.contains(&Family::V6) {
            let commands = "addr add 2001:db8:1::11/64 dev eth0 nodad\nroute add default via 2001:db8:1::1\n";
            namespace.ip(commands).unwrap();
            addresses.push("2001:db8:1::11".parse().unwrap());
        } else {
            namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
            let listed = namespace.filter("ip", &["-6", "addr"], "").unwrap();
            assert!(!listed.contains("inet6 "), "there is an IPv6 address: {listed}");
        }
        Self { namespace, addresses }
    }

    /// Starts a server at the first address, with this node and one Service.
    fn api_server(&self) -> ApiServer {
        let server = ApiServer::start(&self.namespace, SocketAddr::new(self.addresses[0], 6443)).unwrap();
        let addresses = self.addresses.iter().map(|at| json!({"type": "InternalIP", "address": at}));
        server.put(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE},
            "status": {"addresses": addresses.collect::<Vec<_>>()},
        }));
        server
    }
}

/// A container's process on a node.
struct Pod {
    process: Child,
    log: tempfile::NamedTempFile,
    _files: tempfile::TempDir,
}

impl Pod {
    /// Runs the command of a bundle's container, with another API server.
    fn start(node: &Node, server: &ApiServer, container: &Container, config: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut config: Value = serde_saphyr::from_str(config).unwrap();
        config["clientConnection"]["kubeconfig"] = json!(server.kubeconfig());
        let file = files.path().join("config.conf");
        fs::write(&file, config.to_string()).unwrap();
        let words = container.command.iter().flatten().chain(container.args.iter().flatten());
        let words = words.skip(1).map(|word| {
            word.replace("/var/lib/kube-proxy/config.conf", file.to_str().unwrap())
                .replace("$(NODE_NAME)", NODE)
        });
        let log = tempfile::NamedTempFile::new().unwrap();
        let stderr: File = log.reopen().unwrap();
        // The process ends with the thread that started it, which is the namespace's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(portolan_integration::binary().unwrap()).args(words);
        command.env("NODE_NAME", NODE).stdin(Stdio::null()).stderr(stderr);
        let process = node.namespace.enter(move || command.spawn()).unwrap();
        Self { process, log, _files: files }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log.path()).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the bundles without changes: their containers, and `config.conf`.
fn shipped() -> Vec<(&'static str, Container, String)> {
    let unchanged = bundles().into_iter().filter(|(name, _)| ["kustomize base", "chart"].contains(name));
    let shipped = unchanged.map(|(name, objects)| {
        let container = one(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0].clone();
        let config = configuration(&objects)["data"]["config.conf"].as_str().unwrap().to_owned();
        (name, serde_json::from_value(container).unwrap(), config)
    });
    shipped.collect()
}

/// Sends a probe as the kubelet does to a pod in the host's network, to each of the node's addresses; the first of them
/// is the pod's.
fn probe(node: &Node, probe: Option<&Probe>) -> Vec<Option<u16>> {
    let http = probe.and_then(|probe| probe.http_get.as_ref()).expect("there is a probe");
    let host = http.host.as_ref().map(|host| host.parse().expect("an address"));
    let hosts = host.map_or_else(|| node.addresses.clone(), |host| vec![host]);
    let port = serde_json::to_value(&http.port).unwrap().as_u64().unwrap();
    let path = http.path.as_deref().unwrap();
    let ask = |address: &std::net::IpAddr| {
        let target = SocketAddr::new(*address, port.try_into().unwrap());
        get(&node.namespace, target, path).map(|response| response.code)
    };
    hosts.iter().map(ask).collect()
}

fn the_probes_pass(families: &[Family]) {
    for (bundle, container, config) in shipped() {
        let node = Node::new(families);
        let server = node.api_server();
        let pod = Pod::start(&node, &server, &container, &config);
        let probes = [
            container.startup_probe.as_ref(),
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
        ];
        let mut answers = Vec::new();
        let pass = eventually(PATIENCE, || {
            answers = probes.iter().map(|shipped| probe(&node, *shipped)).collect();
            answers.iter().flatten().all(|code| *code == Some(200))
        });
        assert_eq!(answers.iter().flatten().count(), 3 * families.len());
        assert!(pass.is_some(), "{bundle}, {families:?}: {answers:?}\n{}", pod.log());
    }
}

#[test]
fn the_probes_pass_with_ipv4_alone() {
    the_probes_pass(&[Family::V4]);
}

#[test]
fn the_probes_pass_with_ipv6_alone() {
    the_probes_pass(&[Family::V6]);
}

#[test]
fn the_probes_pass_in_dual_stack() {
    the_probes_pass(&Family::BOTH);
}

/// The document's patch of kubeadm's DaemonSet works for any address of the health server in the ConfigMap, and in any
/// mode.
#[test]
fn the_documented_probe_passes_on_loopback_too() {
    let document = fs::read_to_string(crate::shipped("../docs/replace-kube-proxy.md")).unwrap();
    let (_, patch) = document.split_once("patch daemonset kube-proxy --type json -p '").unwrap();
    let (patch, _) = patch.split_once('\'').unwrap();
    let patch: Value = serde_json::from_str(patch).unwrap();
    let find = |path: &str| {
        let operations = patch.as_array().unwrap().iter();
        let mut values = operations.filter(|operation| operation["path"].as_str().unwrap().ends_with(path));
        values.next().unwrap()["value"].clone()
    };
    let (_, shipped, config) = shipped().remove(0);
    let command = serde_json::from_value(find("/command")).unwrap();
    let probe: Probe = serde_json::from_value(find("/readinessProbe")).unwrap();
    let container = Container { command, ..shipped };
    for (address, mode) in
        [("", "\"\""), ("0.0.0.0:10256", "iptables"), ("127.0.0.1:10256", "ipvs"), ("[::]:10256", "nftables")]
    {
        let node = Node::new(&Family::BOTH);
        let server = node.api_server();
        let config = config.replace("mode: nftables", &format!("mode: {mode}"));
        let config = format!("{config}\nhealthzBindAddress: \"{address}\"\n");
        let pod = Pod::start(&node, &server, &container, &config);
        let passes = eventually(PATIENCE, || self::probe(&node, Some(&probe)) == [Some(200)]);
        assert!(passes.is_some(), "{address}:\n{}", pod.log());
    }
}

/// Least privilege: the role grants exactly the rights that the agent uses.
#[test]
fn the_rights_are_those_that_the_agent_uses() {
    let node = Node::new(&Family::BOTH);
    let server = node.api_server();
    let (_, container, config) = shipped().remove(0);
    let pod = Pod::start(&node, &server, &container, &config);
    // One Service has the address of another one, which causes an Event.
    let service = |name: &str, created: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "default", "creationTimestamp": created},
            "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
        })
    };
    server.put_all([service("first", "2025-01-01T00:00:00Z"), service("second", "2025-01-02T00:00:00Z")]);
    let kinds = || -> BTreeSet<_> {
        let watched = server.requests().into_iter().filter(|request| request.verb == Verb::Watch);
        watched.filter_map(|request| request.resource).collect()
    };
    let everything = eventually(PATIENCE, || !server.events().is_empty() && kinds().len() == 4);
    assert!(everything.is_some(), "{:?}\n{}", kinds(), pod.log());
    let asked = server.requests().into_iter().map(|request| {
        let (group, resource) = match request.resource {
            Some(known) => (known.version().split_once('/').map_or("", |(group, _)| group), known.name()),
            None => ("events.k8s.io", "events"),
        };
        [group.to_owned(), resource.to_owned(), format!("{:?}", request.verb).to_lowercase()]
    });
    let mut used: BTreeSet<[String; 3]> = asked.collect();
    // If a server cannot list by a watch, the agent lists in pages; and a repeated Event is counted in the first one, a
    // minute later.
    for [group, resource, _] in used.clone() {
        let verb = if resource == "events" { "patch" } else { "list" };
        used.insert([group, resource, verb.to_owned()]);
    }
    for (bundle, objects) in bundles() {
        let granted = rbac::granted(&one(&objects, "ClusterRole")["rules"]);
        let used: BTreeSet<_> = used.iter().cloned().chain(rbac::of_flags(&objects)).collect();
        assert_eq!(granted, used, "{bundle}");
    }
}
