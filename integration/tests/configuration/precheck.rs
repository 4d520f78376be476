//! `precheck`: its findings on a node, and that it changes nothing.

use std::{net::SocketAddr, process::Output};

use portolan_integration::{ApiServer, Fault, Namespace, Resource, Rule, binary};
use serde_json::{Value, json};
use socket2::{Domain, Type};

use crate::process::{HEAD, TestFile, portolan};

/// The address of the node and its API server.
const ADDRESS: &str = "192.0.2.10";

/// A node with an API server that has its Node object.
struct Scene {
    namespace: Namespace,
    server: ApiServer,
}

impl Scene {
    fn new() -> Self {
        let namespace = Namespace::new("precheck").unwrap_or_else(|error| panic!("{error}"));
        let link = "link add eth0 type veth peer name cable\nlink set eth0 up\nlink set cable up\n\
                    addr add 192.0.2.10/24 dev eth0\n";
        namespace.ip(link).unwrap();
        namespace.sysctl("net/ipv4/ip_forward", "1").unwrap();
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
        let server = ApiServer::start(&namespace, format!("{ADDRESS}:6443").parse().unwrap()).unwrap();
        server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}}));
        Self { namespace, server }
    }

    fn precheck(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.server.kubeconfig();
        let all = ["precheck", "--kubeconfig", kubeconfig.to_str().unwrap()];
        let arguments: Vec<&str> = all.iter().chain(arguments).copied().collect();
        self.namespace.output(&binary().unwrap().to_string_lossy(), &arguments, "").unwrap()
    }

    /// Returns the exit status and the checks, each as `status name: message`.
    fn checks(&self, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
        let output = self.precheck(&[&["-o", "json"], arguments].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{error}: {} {}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        });
        let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
        let line = |check: &Value| {
            format!("{} {}: {}", text(check, "status"), text(check, "name"), text(check, "message"))
        };
        (output.status.code(), value["checks"].as_array().unwrap().iter().map(line).collect())
    }
}

#[track_caller]
fn assert_has(checks: &[String], start: &str, parts: &[&str]) {
    let is_it = |check: &&String| check.starts_with(start) && parts.iter().all(|part| check.contains(part));
    assert!(checks.iter().any(|check| is_it(&check)), "no {start} … {parts:?} in {checks:#?}");
}

const GOOD: [&str; 4] = ["--hostname-override", "node-a", "--cluster-cidr", "10.128.0.0/16"];

#[test]
fn a_node_that_can_be_served_has_nothing_that_fails() {
    let scene = Scene::new();
    let (code, checks) = scene.checks(&GOOD);
    for (start, part) in [
        ("ok configuration", "effect"),
        ("ok capabilities", "NET_ADMIN"),
        ("ok kernel", "in a namespace of its own; families: ip, ip6"),
        ("ok kube-proxy", "no rules"),
        ("ok portolan", "no table portolan"),
        ("ok ports", "free"),
        ("ok api-server", "outside of the Services"),
        ("ok node", "node-a"),
        ("ok rights", "granted"),
    ] {
        assert_has(&checks, start, &[part]);
    }
    assert_eq!(code, Some(0), "{checks:#?}");
    assert_eq!(scene.namespace.filter("nft", &["list", "ruleset"], "").unwrap(), "", "nothing is changed");
    let text = scene.precheck(&GOOD).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.lines().last().unwrap().starts_with("node node-a: 0 failed, "), "{text}");
}

#[test]
fn what_the_cluster_would_refuse_is_found_before() {
    let scene = Scene::new();
    scene.server.deny("list", "endpointslices");
    scene.server.deny("create", "events");
    scene.server.put(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "kubernetes"},
        "spec": {"clusterIP": ADDRESS, "clusterIPs": [ADDRESS], "ports": [{"port": 443}]},
    }));
    let (code, checks) = scene.checks(&["--hostname-override", "node-b"]);
    assert_eq!(code, Some(1), "{checks:#?}");
    assert_has(&checks, "failed node", &["\"node-b\"", "there are node-a"]);
    assert_has(&checks, "failed rights", &["list endpointslices.discovery.k8s.io"]);
    assert_has(&checks, "warning rights", &["create events.events.k8s.io"]);
    assert_has(&checks, "failed api-server", &["behind a Service", ADDRESS]);
    assert_has(&checks, "warning configuration", &["--cluster-cidr"]);
}

#[test]
fn rights_are_asked_for_though_nodes_may_not_be_listed() {
    let scene = Scene::new();
    scene.server.deny("list", "nodes");
    scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Nodes));
    let (code, checks) = scene.checks(&GOOD);
    assert_eq!(code, Some(1), "{checks:#?}");
    assert_has(&checks, "ok api-server", &["answers"]);
    assert_has(&checks, "skipped node", &["403"]);
    assert_has(&checks, "failed rights", &["not granted: list nodes"]);
}

#[test]
fn a_range_of_service_addresses_counts_as_well() {
    let scene = Scene::new();
    scene.server.put(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["192.0.2.0/28"]},
    }));
    let (_, checks) = scene.checks(&GOOD);
    assert_has(&checks, "failed api-server", &["behind a Service"]);
}

#[test]
fn a_server_that_does_not_answer_is_reported_once() {
    let scene = Scene::new();
    let namespace = scene.namespace.clone();
    let arguments = ["precheck", "--master", "http://192.0.2.10:1", "-o", "json"];
    let output = namespace.output(&binary().unwrap().to_string_lossy(), &arguments, "").unwrap();
    let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checks["failed"], 1, "{checks:#}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn other_proxies_rules_are_found_by_what_they_are() {
    let scene = Scene::new();
    let rules = "
        table ip kube-proxy { chain services { }; }
        table ip6 nat { chain KUBE-SERVICES { }; }
        table ip filter { chain KUBE-FIREWALL { }; }
    ";
    scene.namespace.filter("nft", &["-f", "-"], rules).unwrap();
    let manifests = tempfile::tempdir().unwrap();
    let run =
        ["run", "--once", "--allow-empty", "--table-name", "edge", "-f", manifests.path().to_str().unwrap()];
    let output = scene.namespace.output(&binary().unwrap().to_string_lossy(), &run, "").unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let warning = "\"kube-proxy's rules are on this node as well; remove them once it no longer runs here\" \
                   rules=\"table ip kube-proxy, chains KUBE-* in table ip6 nat\"";
    assert!(log.contains(warning), "{log}");
    let (code, checks) = scene.checks(&GOOD);
    assert_has(&checks, "warning kube-proxy", &["table ip kube-proxy, chains KUBE-* in table ip6 nat"]);
    assert!(!checks.iter().any(|check| check.contains("filter")), "chains of the kubelet are reported");
    assert_has(&checks, "warning portolan", &["ip edge, ip6 edge"]);
    assert_eq!(code, Some(0), "they can be removed later: {checks:#?}");
    let (code, _) = scene.checks(&[&GOOD[..], &["--fail-on", "warning"]].concat());
    assert_eq!(code, Some(1));
}

#[test]
fn ports_that_are_taken_are_named_with_their_process() {
    let scene = Scene::new();
    let listen = |address: &str| {
        let socket = scene.namespace.socket(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(1).unwrap();
        socket
    };
    let _held = [listen("192.0.2.10:10256"), listen("0.0.0.0:30080"), listen("127.0.0.1:30081")];
    let pid = format!("(pid {})", std::process::id());
    let (code, checks) = scene.checks(&GOOD);
    assert_has(&checks, "failed ports", &["--healthz-bind-address", "192.0.2.10:10256", &pid]);
    assert_has(&checks, "warning ports", &["0.0.0.0:30080", &pid]);
    assert!(!checks.iter().any(|check| check.contains("30081")), "node ports are not on loopback");
    assert_eq!(code, Some(1));
    let elsewhere = ["--healthz-bind-address=127.0.0.1:10256", "--service-node-port-range=31000-31999"];
    let (code, checks) = scene.checks(&[&GOOD[..], &elsewhere].concat());
    assert_has(&checks, "ok ports", &["free"]);
    assert_eq!(code, Some(0));
}

#[test]
fn the_configuration_is_read_as_by_run() {
    let file = TestFile::new(&format!("{HEAD}mode: ipvs\n"));
    let outcome = portolan(&["precheck", "--config", &file.name()]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("has no mode \"ipvs\""), "{}", outcome.stderr);
    let scene = Scene::new();
    let file = TestFile::new(&format!(
        "{HEAD}mode: nftables\nclusterCIDR: 10.0.0.0/8\nclusterCidr: 10.0.0.0/8\nipvs:\n  scheduler: rr\n"
    ));
    let (_, checks) = scene.checks(&["--config", &file.name(), "--hostname-override", "node-a"]);
    assert_has(&checks, "warning configuration", &["clusterCidr"]);
    assert_has(&checks, "warning configuration", &["ipvs.scheduler"]);
    assert_eq!(portolan(&["precheck", "--no-such-flag"]).code, Some(2));
}
