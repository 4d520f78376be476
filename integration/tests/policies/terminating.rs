//! Endpoints that are not ready, terminating, or published although not ready: behaviour.md §4 (2 and 3), the rows
//! `ready L1,L2, term L3,L4(not serving), ready R5` of §12a.

use portolan_integration::{Answer, Family, Pod};
use serde_json::{Value, json};

use crate::{
    frontends::{
        assert_all_serve, assert_masqueraded, assert_silence, assert_source, exposed, external_targets, pod,
        put, targets, wait_for_silence, wait_until_serve,
    },
    scene::{Scene, wait_until},
};

fn conditions(ready: bool, serving: bool, terminating: bool) -> Value {
    json!({"conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
}

/// Returns the conditions of a state: ready, terminating but serving, terminating and not serving.
fn is(state: &str) -> Value {
    match state {
        "ready" => conditions(true, true, false),
        "terminating" => conditions(false, true, true),
        "gone" => conditions(false, false, true),
        other => panic!("{other}"),
    }
}

/// A row: its name, the state of each endpoint, the endpoints that serve the ClusterIP, and those that serve outside
/// clients. `None` is silence, an empty list a refusal.
type Row<'a> = (&'a str, [&'a str; 5], &'a [&'a str], Option<&'a [&'a str]>);

const NAMES: [&str; 5] = ["L1", "L2", "L3", "L4", "R5"];

fn rows(policy: &str, rows: &[Row<'_>]) {
    let mut scene = Scene::new();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let node = |name: &str| if name == "R5" { &scene.lab.node_b } else { &scene.lab.node_a };
    let pods: Vec<Pod> = NAMES.iter().map(|name| pod(node(name), name)).collect();
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", policy);
    put(&scene, 1, &service, &[]);
    scene.run();
    for (row, states, internal, external) in rows {
        let endpoints: Vec<_> = pods.iter().zip(states).map(|(pod, state)| (pod, is(state))).collect();
        put(&scene, 1, &service, &endpoints);
        for family in Family::BOTH {
            let [(_, cluster_ip), ..] = targets(&scene, 1, family);
            let shell = scene.shell.client();
            if internal.is_empty() {
                wait_until(row, || shell.tcp(cluster_ip).is_refused());
            } else {
                wait_until_serve(&shell, cluster_ip, internal, row);
                let answers = assert_all_serve(&shell, cluster_ip, internal, row);
                assert_source(&answers, scene.shell.address().of(family), row);
            }
            for (kind, target) in external_targets(&scene, 1, family) {
                let what = format!("{kind}, {row}");
                let outside = scene.lab.client();
                match external {
                    None => {
                        wait_for_silence(&outside, target, &what);
                        assert_silence(&outside, target, &what);
                    }
                    Some([]) => _ = wait_until(&what, || outside.tcp(target).is_refused()),
                    Some(servers) => {
                        wait_until_serve(&outside, target, servers, &what);
                        let answers = assert_all_serve(&outside, target, servers, &what);
                        if policy == "Local" {
                            assert_source(&answers, scene.lab.client_address().of(family), &what);
                        } else {
                            assert_masqueraded(&answers, &scene.lab.node_a, &what);
                        }
                    }
                }
            }
        }
    }
}

/// §12a, four rows of eTP=Local.
#[test]
fn external_local_falls_back_to_the_terminating_endpoints_of_this_node() {
    rows(
        "Local",
        &[
            (
                "ready L1, L2 and R5",
                ["ready", "ready", "terminating", "gone", "ready"],
                &["L1", "L2", "R5"],
                Some(&["L1", "L2"]),
            ),
            (
                "only terminating local, ready R5",
                ["gone", "terminating", "terminating", "gone", "ready"],
                &["R5"],
                Some(&["L2", "L3"]),
            ),
            ("only terminating R5", ["gone", "gone", "gone", "gone", "terminating"], &["R5"], None),
            ("nothing serves", ["gone", "gone", "gone", "gone", "gone"], &[], Some(&[])),
        ],
    );
}

/// §12a, "eTP=Cluster same four".
#[test]
fn external_cluster_falls_back_to_the_terminating_endpoints_of_all_nodes() {
    rows(
        "Cluster",
        &[
            (
                "ready L1, L2 and R5",
                ["ready", "ready", "terminating", "gone", "ready"],
                &["L1", "L2", "R5"],
                Some(&["L1", "L2", "R5"]),
            ),
            (
                "all terminate",
                ["gone", "terminating", "terminating", "gone", "terminating"],
                &["L2", "L3", "R5"],
                Some(&["L2", "L3", "R5"]),
            ),
            ("only terminating R5", ["gone", "gone", "gone", "gone", "terminating"], &["R5"], Some(&["R5"])),
            ("nothing serves", ["gone", "gone", "gone", "gone", "gone"], &[], Some(&[])),
        ],
    );
}

/// §2: an endpoint that is both ready and terminating (publishNotReadyAddresses) is ready; one that is not ready,
/// serving and not terminating is never used.
#[test]
fn published_endpoints_are_ready_and_unready_ones_are_not_used() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let service = exposed(&scene, 1);
    put(
        &scene,
        1,
        &service,
        &[
            (&one, conditions(true, false, true)),
            (&two, conditions(true, true, false)),
            (&three, conditions(false, true, false)),
        ],
    );
    scene.run();
    let shell = scene.shell.client();
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        assert_all_serve(&shell, cluster_ip, &["web-1", "web-2"], "published and ready");
    }
    put(&scene, 1, &service, &[(&three, conditions(false, true, false))]);
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        wait_until("it refuses", || shell.tcp(cluster_ip).is_refused());
    }
}

/// §4 (2) also applies to a Service whose slices are derived from its Pods: `publishNotReadyAddresses` of the Service.
#[test]
fn publish_not_ready_addresses_of_a_service_with_pods() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let mut pod = portolan_integration::pod_object(
        &one,
        ("app", "web"),
        ("http", portolan_integration::Protocol::Tcp, 8080),
    );
    pod["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    let service = crate::scene::service("web", scene.lab.cluster_ip(1))
        .port("http", portolan_integration::Protocol::Tcp, 80)
        .target_port("http")
        .with("/spec/selector/app", "web");
    let write = |scene: &Scene, publish: bool| {
        let service = service.clone().with("/spec/publishNotReadyAddresses", publish);
        scene.manifests.put("web.yaml", &[service.object(), pod.clone()]).unwrap();
    };
    write(&scene, false);
    scene.run();
    let ask = |family| scene.shell.client().tcp(scene.lab.cluster_ip(1).port(family, 80));
    for family in Family::BOTH {
        assert!(ask(family).is_refused(), "an unready pod");
    }
    write(&scene, true);
    for family in Family::BOTH {
        wait_until("the unready pod is published", || ask(family).server() == Some("web-1"));
    }
    write(&scene, false);
    for family in Family::BOTH {
        wait_until("it is no longer", || matches!(ask(family), Answer::Refused { .. }));
    }
}
