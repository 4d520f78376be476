//! The state from the API server: one list, from the view of any node.

use portolan_integration::{Fault, Resource, Rule};
use serde_json::{Value, json};

use crate::{
    scene::Scene,
    shared::{Answer, portolan},
};

/// Returns a Pod with this address, which is not ready.
fn pod(name: &str, address: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

struct Cluster {
    scene: Scene,
    kubeconfig: String,
}

impl Cluster {
    /// A Service `web` with two Pods, on node-a and node-b.
    fn new() -> Self {
        let scene = Scene::new();
        let pods = scene.web_pods();
        scene.put_web(&[&pods[0], &pods[1]]);
        for pod_of in &pods {
            scene.server.put(pod(pod_of.name(), &pod_of.address().v4.to_string(), pod_of.node_name()));
        }
        let kubeconfig = scene.server.kubeconfig().display().to_string();
        Self { scene, kubeconfig }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Answer {
        let arguments =
            [arguments, &["--kubeconfig", &self.kubeconfig, "--cluster-cidr", "10.128.0.0/16"]].concat();
        portolan(self.scene.lab.node_a.namespace(), &arguments)
    }
}

#[test]
fn one_list_of_the_cluster_explains_any_node() {
    let cluster = Cluster::new();
    let answer = cluster.run(&["describe", "service", "web", "--node", "node-b"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(answer.stderr, "");
    let text = answer.unbroken();
    assert!(text.contains("from the API server https://") && text.contains("listed at "), "{text}");
    assert!(text.contains("as node node-b would program it Port"), "{text}");
    for pod in ["Pod default/web-1 on node-a", "Pod default/web-2 on node-b"] {
        assert!(answer.stdout.contains(pod), "{}", answer.stdout);
    }
    assert!(answer.stdout.contains("1/2 (50.0 %)"), "{}", answer.stdout);

    let answer = cluster.run(&["trace", "pod/web-1", "web.default.svc", "--node", "node-b"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.starts_with("reaches one of 2 endpoints, 50.0 % each; source kept"), "{answer:?}");
    assert_eq!(cluster.run(&["check", "--node", "node-a"]).code, Some(0));
}

#[test]
fn a_node_that_does_not_exist_is_answered_with_those_that_do() {
    let cluster = Cluster::new();
    let answer = cluster.run(&["check", "--node", "node-x"]);
    assert_eq!(
        answer.stderr,
        "portolan: warning: the input has no Node node-x, only node-a, node-b; --hostname-override sets this node's name\n"
    );
}

#[test]
fn what_may_not_be_read_is_left_out_or_an_error_of_one_line() {
    let cluster = Cluster::new();
    cluster.scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Pods));
    cluster.scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::ServiceCidrs));
    let answer = cluster.run(&["describe", "service", "web", "--node", "node-a"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    assert!(
        answer.stderr.starts_with("portolan: warning: without Pods, so that selectors"),
        "{}",
        answer.stderr
    );
    assert!(!answer.stdout.contains("Pod default/web-1"), "{}", answer.stdout);

    cluster.scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Services));
    let answer = cluster.run(&["check", "--node", "node-a"]);
    assert_eq!((answer.code, answer.stderr.lines().count()), (Some(2), 1), "{answer:?}");
    assert!(answer.stderr.contains("the server answered 403"), "{}", answer.stderr);
}

#[test]
fn rights_in_one_namespace_are_enough_to_explain_it() {
    let cluster = Cluster::new();
    let other = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "hidden", "namespace": "other"},
        "spec": {"clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"], "ports": [{"port": 80}]},
    });
    cluster.scene.server.put(other);
    for arguments in [
        &["describe", "service", "web", "--node", "node-a"][..],
        &["draw", "-n", "default", "--node", "node-a"],
        &["render", "-n", "default", "--hostname-override", "node-a"],
    ] {
        // The first request is for the whole cluster.
        for resource in [Resource::Services, Resource::EndpointSlices, Resource::Pods] {
            cluster.scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(resource).times(1));
        }
        cluster.scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Nodes).times(1));
        let answer = cluster.run(arguments);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(answer.stdout.contains("default/web") && !answer.stdout.contains("hidden"), "{answer:?}");
        let lines: Vec<&str> = answer.stderr.lines().collect();
        assert!(lines[0].contains("without namespaces other than default"), "{lines:?}");
        assert!(lines[1].contains("without Nodes, so that their addresses and zones"), "{lines:?}");
    }
}

#[test]
fn a_picture_has_all_nodes_of_the_cluster() {
    let cluster = Cluster::new();
    for number in 0..3 {
        cluster.scene.server.put(json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("idle-{number}")},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{}", 200 + number)}]},
        }));
    }
    let answer = cluster.run(&["draw", "web", "--node", "node-a"]);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{answer:?}");
    assert!(answer.stdout.contains("and 3 nodes without endpoints"), "{}", answer.stdout);
    let of_node_b = answer.stdout.lines().find(|line| line.contains("╭ node-b")).unwrap_or_default();
    assert!(of_node_b.contains("inside "), "the addresses of another node: {}", answer.stdout);
}

#[test]
fn a_context_that_does_not_exist_is_answered_with_those_that_do() {
    let cluster = Cluster::new();
    let answer = cluster.run(&["check", "--context", "nowhere"]);
    assert_eq!(answer.code, Some(2));
    assert!(answer.stderr.contains("it has no context \"nowhere\", but "), "{}", answer.stderr);
}

#[test]
fn the_binary_is_a_plugin_of_kubectl() {
    let cluster = Cluster::new();
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("kubectl-portolan");
    std::os::unix::fs::symlink(portolan_integration::binary().unwrap(), &plugin).unwrap();
    let kubeconfig = format!("KUBECONFIG={}", cluster.kubeconfig);
    let plugin = plugin.display().to_string();
    let arguments = [&*kubeconfig, &plugin, "get", "endpoints", "web", "--node", "node-b", "--no-headers"];
    let namespace = cluster.scene.lab.node_a.namespace();
    let answer = Answer::from(namespace.output("env", &arguments, "").unwrap());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stderr.contains("from the API server https://"), "{}", answer.stderr);
    assert_eq!(answer.stdout.lines().count(), 4, "{}", answer.stdout);
    // The node must be named, because this machine is not a node.
    let arguments = [&*kubeconfig, &plugin, "check"];
    let answer = Answer::from(namespace.output("env", &arguments, "").unwrap());
    assert!(answer.stderr.contains("only node-a, node-b; --hostname-override sets"), "{answer:?}");
}

#[test]
fn rules_are_printed_and_compared_without_a_pipe() {
    let cluster = Cluster::new();
    let node = ["--hostname-override", "node-a"];
    let render = cluster.run(&[&["render"][..], &node].concat());
    assert_eq!((render.code, &*render.stderr), (Some(0), ""));
    assert!(render.stdout.contains("comment \"default/web:http\""), "{}", render.stdout);
    let diff = cluster.run(&[&["diff"][..], &node].concat());
    assert_eq!(diff.code, Some(1), "{}", diff.stderr);
    assert!(diff.stdout.contains("default/web: new: "), "{}", diff.stdout);
    let both = cluster.run(&["render", "-f", "web.yaml"]);
    assert_eq!(both.code, Some(1));
    assert!(both.stderr.contains("cannot be used with"), "{}", both.stderr);
}
