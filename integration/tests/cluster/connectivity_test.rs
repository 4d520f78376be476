//! `connectivity-test` that creates its servers through the API server, with the lab in place of kubelets and
//! controllers.

use std::{
    collections::BTreeMap,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use portolan_integration::{
    Agent, ConnectivityServer, Family, Fault, Node, Pod, Protocol, Resource, Rule, Slice, Verb, binary,
};
use serde_json::{Value, json};

use crate::scene::{ARGUMENTS, Scene, wait_until};

/// A scene whose test API server assigns addresses to Services, as a real one does.
fn scene() -> Scene {
    let scene = Scene::new();
    let [first, second] = [221, 222].map(|n| scene.lab.cluster_ip(n));
    scene.server.assign(move |object| {
        if object["kind"] != "Service" {
            return;
        }
        let is_server = object["spec"]["type"] != Value::Null;
        let ips = if is_server { first } else { second };
        let ips = Family::BOTH.map(|family| ips.of(family).to_string());
        object["spec"]["clusterIP"] = ips[0].as_str().into();
        object["spec"]["clusterIPs"] = if is_server { json!(ips) } else { json!([ips[0]]) };
        object["spec"]["ipFamilies"] = if is_server { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
        for (i, port) in object["spec"]["ports"].as_array_mut().into_iter().flatten().enumerate() {
            if is_server {
                port["nodePort"] = json!(30_300 + i);
            }
        }
    });
    scene
}

fn of_kind(scene: &Scene, kind: &str) -> Vec<Value> {
    scene.server.objects().into_iter().filter(|object| object["kind"] == kind).collect()
}

/// Whether a test left no object.
fn is_clean(scene: &Scene) -> bool {
    ["Namespace", "DaemonSet", "Service", "EndpointSlice"].iter().all(|kind| of_kind(scene, kind).is_empty())
}

/// The lab's servers in place of the Pods of one DaemonSet.
struct Running {
    _pods: Vec<Pod>,
    _servers: Vec<ConnectivityServer>,
}

/// Runs `work` while the lab does the work of kubelets and controllers: for each `DaemonSet`, a server in a Pod on each
/// node or on the node itself, their endpoints, and an address for load balancers.
fn with_kubelets<T>(scene: &Scene, work: impl FnOnce() -> T) -> T {
    struct SetOnDrop<'a>(&'a AtomicBool);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let run = || {
        let mut running = BTreeMap::new();
        while !done.load(Ordering::Relaxed) {
            for set in of_kind(scene, "DaemonSet") {
                let name = set["metadata"]["name"].as_str().unwrap().to_owned();
                running.entry(name).or_insert_with(|| start(scene, set));
            }
            for mut service in of_kind(scene, "Service") {
                if service["spec"]["type"] == "LoadBalancer" && service["status"].is_null() {
                    let ingress = Family::BOTH.map(|family| {
                        json!({"ip": scene.lab.external_ip(1).of(family).to_string(), "ipMode": "VIP"})
                    });
                    service["status"] = json!({"loadBalancer": {"ingress": ingress}});
                    scene.server.put(service);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    };
    thread::scope(|scope| {
        scope.spawn(run);
        let _end = SetOnDrop(&done);
        work()
    })
}

/// Starts the servers of a DaemonSet.
fn start(scene: &Scene, mut set: Value) -> Running {
    let name = set["metadata"]["name"].as_str().unwrap().to_owned();
    let namespace = set["metadata"]["namespace"].as_str().unwrap().to_owned();
    let template = &set["spec"]["template"]["spec"];
    let command: Vec<&str> =
        template["containers"][0]["command"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(command[1..3], ["connectivity-test", "--serve"]);
    let port: u16 = command[3].strip_prefix("--port=").unwrap().parse().unwrap();
    let (mut pods, mut servers) = (Vec::new(), Vec::new());
    let mut slices = Vec::new();
    if template["hostNetwork"] == true {
        let mut endpoints = Vec::new();
        for node in scene.lab.nodes() {
            servers.push(ConnectivityServer::start(node.namespace(), node.name(), port).unwrap());
            endpoints.push(json!({"addresses": [node.outside().v4.to_string()], "nodeName": node.name()}));
        }
        slices.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{name}-1"), "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "tcp", "protocol": "TCP", "port": port}],
            "endpoints": endpoints,
        }));
    } else {
        for node in scene.lab.nodes() {
            let pod = node.pod(&format!("server-{}", node.name())).unwrap();
            servers.push(ConnectivityServer::start(pod.namespace(), pod.name(), port).unwrap());
            pods.push(pod);
        }
        for family in Family::BOTH {
            let slice = Slice::new(&name, family).port("tcp", Protocol::Tcp, port);
            let slice = slice.port("udp", Protocol::Udp, port);
            slices.push(pods.iter().fold(slice, Slice::pod).object());
        }
    }
    for slice in &mut slices {
        slice["metadata"]["namespace"] = namespace.as_str().into();
    }
    let count = scene.lab.nodes().len();
    set["status"] =
        json!({"desiredNumberScheduled": count, "currentNumberScheduled": count, "numberReady": count});
    scene.server.put_all(slices.into_iter().chain([set]));
    Running { _pods: pods, _servers: servers }
}

fn arguments(scene: &Scene, more: &[&str]) -> Vec<String> {
    let kubeconfig = scene.server.kubeconfig();
    let all = ["connectivity-test", "--kubeconfig", kubeconfig.to_str().unwrap(), "--node", "node-a"];
    all.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

/// Runs `connectivity-test` on node-a.
fn run(scene: &Scene, more: &[&str]) -> (Option<i32>, String, String) {
    let arguments = arguments(scene, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = Agent::command(&scene.lab.node_a, &arguments).unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), stdout, stderr)
}

#[test]
fn servers_are_created_reached_from_everywhere_and_removed() {
    let scene = scene();
    let agent = |node: &Node| Agent::start_in_cluster(node, &scene.server.kubeconfig(), &ARGUMENTS).unwrap();
    let _agents = scene.lab.nodes().map(agent);
    scene.server.put(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "portolan-1", "namespace": "kube-system", "labels": {"k8s-app": "portolan"}},
        "spec": {"containers": [{"name": "portolan", "image": "registry.example/portolan:1"}]},
    }));
    let (code, stdout, stderr) = with_kubelets(&scene, || {
        run(&scene, &["--load-balancer", "--attempts", "3", "-o", "json", "--cluster-cidr", ARGUMENTS[1]])
    });
    assert!(stderr.contains("registry.example/portolan:1"), "the image of the agent: {stderr}");
    let value: Value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    let results = value["results"].as_array().unwrap();
    let failed: Vec<_> = results.iter().filter(|result| result["ok"] != true).collect();
    assert!(failed.is_empty() && code == Some(0), "{code:?} {failed:#?} {stderr}");
    for from in ["here", "server-node-a", "server-node-b", "node-a", "node-b"] {
        for to in ["ClusterIP", "NodePort", "LoadBalancer"] {
            for protocol in ["tcp", "udp"] {
                let is_it = |result: &&Value| {
                    result["from"] == from && result["to"] == to && result["protocol"] == protocol
                };
                let count = results.iter().filter(is_it).count();
                // In both families; here only the IPv4 address of the other node is known.
                let others =
                    usize::from(to == "NodePort" && ["here", "server-node-b", "node-b"].contains(&from));
                assert_eq!(count, 2 + others, "{from} to {to} over {protocol}: {stdout}");
            }
        }
    }
    for result in results {
        let from = result["from"].as_str().unwrap();
        let node = ["node-a", "node-b"].into_iter().find(|node| from.ends_with(node));
        assert_eq!(result["node"].as_str(), node, "{result}");
    }
    assert!(is_clean(&scene), "{:#?}", scene.server.objects());
}

#[test]
fn in_a_namespace_that_is_given_nothing_else_is_touched() {
    let scene = scene();
    let agent = |node: &Node| Agent::start_in_cluster(node, &scene.server.kubeconfig(), &ARGUMENTS).unwrap();
    let _agents = scene.lab.nodes().map(agent);
    let others = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tests"}}),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "server", "namespace": "tests"},
            "spec": {"clusterIP": "None", "ports": [{"port": 1, "protocol": "TCP"}]},
        }),
    ];
    scene.server.put_all(others);
    let (code, stdout, stderr) = with_kubelets(&scene, || {
        run(&scene, &["-n", "tests", "--image=x", "--attempts=1", "--cluster-cidr", ARGUMENTS[1]])
    });
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("FROM ") && stdout.contains("hairpin") && !stdout.contains("FAILED"),
        "{stdout}"
    );
    assert!(of_kind(&scene, "DaemonSet").is_empty());
    assert_eq!((of_kind(&scene, "Namespace").len(), of_kind(&scene, "Service").len()), (1, 1));
}

#[test]
fn what_was_created_is_removed_after_an_error() {
    let scene = scene();
    let (code, _, stderr) = run(&scene, &[]);
    assert!(code == Some(2) && stderr.contains("give --image"), "{code:?} {stderr}");
    assert_eq!(scene.server.count(Verb::Create, Resource::Namespaces), 0);

    scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::DaemonSets).on(Verb::Create));
    let (code, stdout, stderr) = run(&scene, &["--image=x"]);
    assert_eq!((code, &*stdout), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("403") && stderr.contains("removing what was created"), "{stderr}");
    assert!(is_clean(&scene), "{:#?}", scene.server.objects());
    scene.server.clear_rules();

    // Nothing starts the Pods.
    let (code, stdout, stderr) = run(&scene, &["--image=x", "--timeout=1s"]);
    assert_eq!((code, &*stdout), (Some(2), ""), "{stderr}");
    assert!(stderr.contains("0 of 0 Pods of DaemonSet server-"), "{stderr}");
    assert!(is_clean(&scene), "{:#?}", scene.server.objects());

    // The error names objects that cannot be removed.
    scene.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Services).on(Verb::Delete));
    let (code, _, stderr) = run(&scene, &["--image=x", "--timeout=1s"]);
    assert!(code == Some(2) && stderr.contains("/services/server-"), "{stderr}");
    assert!(stderr.contains("cannot be removed: "), "{stderr}");
}

/// Runs `connectivity-test` until each `DaemonSet` exists, and sends it a signal.
fn interrupted(scene: &Scene, signal: &'static str) -> ExitStatus {
    let arguments = arguments(scene, &["--image=x"]);
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    let mut test: Child = scene.lab.node_a.namespace().enter(move || command.spawn()).unwrap();
    wait_until("DaemonSets are created", || of_kind(scene, "DaemonSet").len() == 2);
    let sent = Command::new("kill").args([signal, &test.id().to_string()]).status().unwrap();
    assert!(sent.success());
    test.wait().unwrap()
}

#[test]
fn what_was_created_is_removed_after_a_signal() {
    let scene = scene();
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        assert_eq!(interrupted(&scene, signal).code(), Some(code));
        assert!(is_clean(&scene), "{signal}: {:#?}", scene.server.objects());
    }
}
