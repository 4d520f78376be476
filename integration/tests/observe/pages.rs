//! Pages for people: `/statusz`, `/configz`, `/proxyMode`.

use portolan_integration::{Agent, Family, get};
use serde_json::json;

use crate::scene::{Scene, every_protocol, service, slices, wait_until};

const PORT: u16 = 10249;

#[test]
fn the_pages_say_what_is_there() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = every_protocol(service("web", scene.lab.cluster_ip(1)), None);
    scene.put("web.yaml", &web, slices("web", &[&one, &two]));
    let node = &scene.lab.node_a;
    let arguments = ["--cluster-cidr", "10.128.0.0/14", "--iptables-sync-period", "17s"];
    let agent = Agent::start(node, scene.manifests.path(), &arguments).unwrap();
    let ask = |path: &str| agent.get(PORT, path).unwrap();

    for (path, body) in [("/proxyMode", "nftables"), ("/healthz", "ok")] {
        let answer = ask(path);
        assert_eq!((answer.code, answer.body.as_str()), (200, body));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }

    let config = ask("/configz").json();
    let config = &config["kubeproxy.config.k8s.io"];
    assert_eq!(config["kind"], "KubeProxyConfiguration");
    assert_eq!(config["clusterCIDR"], "10.128.0.0/14");
    assert_eq!(config["nftables"]["syncPeriod"], "17s");

    let status = ask("/statusz").body;
    let line = |start: &str| {
        let line = status.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("no line {start:?}:\n{status}"))
    };
    let words = |start: &str| line(start).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words("Node "), ["Node", "node-a"]);
    assert_eq!(words("Version"), ["Version", env!("CARGO_PKG_VERSION")]);
    assert_eq!(words("Ready"), ["Ready", "yes"]);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(words("Kernel "), ["Kernel", release.trim()]);
    assert!(line("Kernel features").contains("nf_tables nat masquerade ct fib numgen"), "{status}");
    // The first line of the log has the same values.
    let log = agent.stderr();
    let first = log.lines().next().unwrap_or_default();
    let features = line("Kernel features").trim_start_matches("Kernel features").trim();
    for part in [release.trim(), features] {
        assert!(first.contains("Starting") && first.contains(part), "{first}");
    }
    assert_eq!(words("  Services"), ["Services", "1"]);
    assert_eq!(words("  frontends"), ["frontends", "3", "3"]);
    assert_eq!(words("  endpoints"), ["endpoints", "6", "6"]);
    assert!(line("  last success").contains("ago"));

    // The page also shows problems of Services. Without creation times, the first name in order wins.
    let other = every_protocol(service("zeal", scene.lab.cluster_ip(1)), None);
    scene.put("zeal.yaml", &other, Vec::new());
    wait_until("the contested ClusterIP is named", || {
        ask("/statusz").body.contains("Service default/zeal: ")
    });
}

#[test]
fn the_metrics_server_is_on_the_loopback_by_default() {
    let scene = Scene::new();
    let node = &scene.lab.node_a;
    let outside = node.outside().port(Family::V4, PORT);
    let agent = Agent::start(node, scene.manifests.path(), &[]).unwrap();
    assert!(agent.get(PORT, "/metrics").is_some());
    assert!(get(scene.lab.node_b.namespace(), outside, "/metrics").is_none());
    agent.terminate().unwrap();

    let arguments = ["--metrics-bind-address", "0.0.0.0:10249"];
    let agent = Agent::start(node, scene.manifests.path(), &arguments).unwrap();
    let answer = get(scene.lab.node_b.namespace(), outside, "/proxyMode").unwrap();
    assert_eq!((answer.code, answer.body.as_str()), (200, "nftables"));
    assert_eq!(agent.get(PORT, "/nowhere").map(|answer| answer.code), Some(404));
    assert_eq!(json!(agent.healthz()), json!(200));
}
