//! The health checks of Services: load balancers ask each node whether it has endpoints.

use std::net::SocketAddr;

use portolan_integration::{Family, Node, Pod, Protocol, Response, Service, Slice, get, request};
use serde_json::{Value, json};

use crate::{
    owner::Owner,
    scene::{Scene, assert_served, service, wait_until},
};

const NODE_PORT: u16 = 30_080;
const CHECK: u16 = 32_000;

/// Returns a load balancer Service `web` with policy Local and its health check on this port.
fn web(scene: &Scene, check: u16) -> Service {
    let web = service("web", scene.lab.cluster_ip(1)).of_type("LoadBalancer").port("http", Protocol::Tcp, 80);
    let web = web.node_port(NODE_PORT).with("/spec/externalTrafficPolicy", "Local");
    web.with("/spec/healthCheckNodePort", check)
}

fn ready() -> Value {
    json!({"ready": true, "serving": true, "terminating": false})
}

fn endpoints(pods: &[(&Pod, Value)]) -> Vec<Value> {
    let slice = |family| {
        let empty = Slice::new("web", family).port("http", Protocol::Tcp, 8080);
        pods.iter().fold(empty, |slice, (pod, conditions)| slice.pod_with(pod, conditions)).object()
    };
    Family::BOTH.map(slice).into()
}

/// Requests a node's health check from the other node.
fn check(scene: &Scene, node: &Node, family: Family, port: u16) -> Option<Response> {
    let [a, b] = scene.lab.nodes();
    let from = if node.name() == a.name() { b } else { a };
    get(from.namespace(), node.outside().port(family, port), "/")
}

fn wait_for(scene: &Scene, node: &Node, code: u16, weight: &str, what: &str) {
    for family in Family::BOTH {
        let mut answer = None;
        let what = format!("{what}: {} says {code} with weight {weight} over {family}", node.name());
        wait_until(&what, || {
            answer = check(scene, node, family, CHECK);
            answer.as_ref().is_some_and(|answer| {
                answer.code == code && answer.header("x-load-balancing-endpoint-weight") == Some(weight)
            })
        });
        let answer = answer.unwrap();
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let expected = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t}},\n\
             \t\"localEndpoints\": {weight},\n\t\"serviceProxyHealthy\": true\n}}"
        );
        assert_eq!(answer.body, expected, "{what}");
    }
}

fn wait_until_closed(scene: &Scene, node: &Node, port: u16, what: &str) {
    for family in Family::BOTH {
        wait_until(what, || check(scene, node, family, port).is_none());
    }
}

#[test]
fn each_node_counts_its_own_ready_endpoints() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let web = web(&scene, CHECK);
    scene.put("web.yaml", &web, endpoints(&[(&one, ready()), (&two, ready()), (&three, ready())]));
    scene.run();
    wait_for(&scene, &scene.lab.node_a, 200, "1", "one pod");
    wait_for(&scene, &scene.lab.node_b, 200, "2", "two pods");
    // Any path and any method work.
    let target: SocketAddr = scene.lab.node_a.outside().port(Family::V4, CHECK);
    for method in ["GET", "POST", "PUT", "OPTIONS"] {
        let answer = request(scene.lab.node_b.namespace(), target, method, "/any/where?at=all").unwrap();
        assert_eq!((answer.code, &answer.json()["localEndpoints"]), (200, &json!(1)), "{method}");
    }

    let unready = json!({"ready": false, "serving": false, "terminating": false});
    scene.put("web.yaml", &web, endpoints(&[(&one, unready), (&two, ready())]));
    wait_for(&scene, &scene.lab.node_a, 503, "0", "a pod that is not ready");
    wait_for(&scene, &scene.lab.node_b, 200, "1", "one pod less");
    scene.put("web.yaml", &web, Vec::new());
    wait_for(&scene, &scene.lab.node_b, 503, "0", "no endpoints");
}

/// Kubernetes' own tests of load balancers check both families.
#[test]
fn a_service_of_one_family_is_checked_on_addresses_of_both() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let of_one_family = |scene: &Scene, family: Family| {
        let address = scene.lab.cluster_ip(1).of(family);
        let web = web(scene, CHECK).with("/spec/clusterIP", json!(address));
        web.with("/spec/clusterIPs", json!([address])).with("/spec/ipFamilies", json!([family.name()]))
    };
    scene.run();
    for family in Family::BOTH {
        let web = of_one_family(&scene, family);
        scene.put("web.yaml", &web, endpoints(&[(&one, ready()), (&two, ready())]));
        wait_for(&scene, &scene.lab.node_a, 200, "1", "one pod");
        scene.put("web.yaml", &web, endpoints(&[(&two, ready())]));
        wait_for(&scene, &scene.lab.node_a, 503, "0", "no pod here");
    }
}

#[test]
fn terminating_endpoints_do_not_count_though_they_are_served() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = web(&scene, CHECK);
    scene.put("web.yaml", &web, endpoints(&[(&one, ready()), (&two, ready())]));
    scene.run();
    wait_for(&scene, &scene.lab.node_a, 200, "1", "ready");
    let terminating = json!({"ready": false, "serving": true, "terminating": true});
    scene.put("web.yaml", &web, endpoints(&[(&one, terminating), (&two, ready())]));
    wait_for(&scene, &scene.lab.node_a, 503, "0", "terminating");
    for family in Family::BOTH {
        let target = scene.lab.node_a.outside().port(family, NODE_PORT);
        let answer = scene.lab.client().tcp(target);
        assert_served(&answer, &["web-1"], "the node port, until the load balancer notices");
    }
    wait_for(&scene, &scene.lab.node_b, 200, "1", "ready");
}

#[test]
fn a_check_moves_with_its_port_and_closes_with_its_policy() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let pods = || endpoints(&[(&one, ready())]);
    scene.put("web.yaml", &web(&scene, CHECK + 1), pods());
    scene.run();
    let node = &scene.lab.node_a;
    wait_until("the first port answers", || check(&scene, node, Family::V4, CHECK + 1).is_some());
    scene.put("web.yaml", &web(&scene, CHECK), pods());
    wait_for(&scene, node, 200, "1", "another port");
    wait_until_closed(&scene, node, CHECK + 1, "the first port is closed");

    let cluster = web(&scene, CHECK).with("/spec/externalTrafficPolicy", "Cluster");
    scene.put("web.yaml", &cluster, pods());
    wait_until_closed(&scene, node, CHECK, "closed under policy Cluster");
    scene.put("web.yaml", &web(&scene, CHECK), pods());
    wait_for(&scene, node, 200, "1", "policy Local again");
    scene.manifests.remove("web.yaml").unwrap();
    wait_until_closed(&scene, node, CHECK, "closed without the Service");
}

#[test]
fn a_port_that_is_taken_is_said_once_and_served_when_it_is_free() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let node = &scene.lab.node_a;
    let blocker = node.serve(Family::V4, node.outside(), Protocol::Tcp, CHECK).unwrap();
    scene.put("web.yaml", &web(&scene, CHECK), endpoints(&[(&one, ready())]));
    scene.run();
    let node = &scene.lab.node_a;
    let said = r#""Health checks cannot be answered; trying again" service="default/web""#;
    wait_until("the agent reports it", || scene.stderr().contains(said));
    wait_until("the other family answers", || check(&scene, node, Family::V6, CHECK).is_some());
    drop(blocker);
    wait_for(&scene, node, 200, "1", "the port is free");
    assert_eq!(scene.stderr().matches(said).count(), 1, "{}", scene.stderr());
}

#[test]
fn a_proxy_that_is_not_healthy_answers_no_for_all() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = web(&scene, CHECK);
    scene.put("web.yaml", &web, endpoints(&[(&one, ready())]));
    scene.run_with(&["--iptables-sync-period", "2s", "--iptables-min-sync-period", "0s"]);
    let node = &scene.lab.node_a;
    wait_for(&scene, node, 200, "1", "healthy");
    let owner = Owner::of_the_tables(node.namespace());
    scene.put("web.yaml", &web, endpoints(&[(&one, ready()), (&two, ready())]));
    let mut answer = None;
    wait_until("no longer healthy", || {
        answer = check(&scene, node, Family::V4, CHECK);
        answer.as_ref().is_some_and(|answer| answer.code == 503)
    });
    let body = answer.unwrap().json();
    assert_eq!((&body["localEndpoints"], &body["serviceProxyHealthy"]), (&json!(1), &json!(false)));
    drop(owner);
    wait_for(&scene, node, 200, "1", "healthy again");
}
