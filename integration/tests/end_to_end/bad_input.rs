//! Bad input: each problem is one clear line on stderr, and everything else is programmed.

use portolan_integration::{Agent, Dual, Family, Protocol, Service, Slice};
use serde_json::json;

use crate::scene::{Scene, assert_served, service, wait_until};

/// Writes a good Service `web` at ClusterIP 1, which must be served whatever other input there is.
fn web(scene: &Scene, pod: &portolan_integration::Pod) {
    let service = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    scene.put("web.yaml", &service, Slice::both("web", ("http", Protocol::Tcp, 8080), &[pod]));
}

fn assert_web_is_served(scene: &Scene) {
    for family in Family::BOTH {
        for client in scene.everywhere() {
            let answer = client.tcp(scene.lab.cluster_ip(1).port(family, 80));
            assert_served(&answer, &["web-1"], &format!("the good Service, from {}", client.name()));
        }
    }
}

/// Asserts that exactly one line of stderr contains all of `words`.
#[track_caller]
fn assert_one_line(stderr: &str, words: &[&str]) {
    let lines = stderr.lines().filter(|line| words.iter().all(|word| line.contains(word)));
    assert_eq!(lines.count(), 1, "one line with {words:?} in:\n{stderr}");
}

#[test]
fn an_unreadable_file_does_not_hinder_the_others() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &one);
    scene.manifests.put_text("broken.yaml", "kind: Service\n  metadata: [oops\n").unwrap();
    scene.run();
    assert_web_is_served(&scene);
    assert_one_line(&scene.stderr(), &["broken.yaml"]);
}

#[test]
fn an_impossible_address_costs_that_service_only() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &one);
    let impossible = Service::new("impossible", [])
        .with("/spec/clusterIP", "10.96.0.300")
        .with("/spec/clusterIPs", json!(["10.96.0.300"]))
        .port("http", Protocol::Tcp, 80);
    let neighbour = service("neighbour", scene.lab.cluster_ip(2)).port("http", Protocol::Tcp, 80);
    let mut objects = vec![impossible.object(), neighbour.object()];
    objects.extend(Slice::both("neighbour", ("http", Protocol::Tcp, 8080), &[&one]));
    scene.manifests.put("impossible.yaml", &objects).unwrap();
    scene.run();
    assert_web_is_served(&scene);
    let answer = scene.shell.client().tcp(scene.lab.cluster_ip(2).port(Family::V4, 80));
    assert_served(&answer, &["web-1"], "its neighbour in the same file");
    assert_one_line(&scene.stderr(), &["impossible.yaml", "default/impossible", "10.96.0.300"]);
}

#[test]
fn of_two_services_with_one_frontend_the_older_wins_then_the_first_by_name() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    web(&scene, &one);
    let claim = |name: &str, address: Dual, created: &str| {
        let service = service(name, address).port("http", Protocol::Tcp, 80);
        service.with("/metadata/creationTimestamp", created).object()
    };
    let (by_age, by_name) = (scene.lab.cluster_ip(2), scene.lab.cluster_ip(3));
    let mut objects = vec![
        claim("a-younger", by_age, "2024-01-02T00:00:00Z"),
        claim("z-older", by_age, "2024-01-01T00:00:00Z"),
        claim("beta", by_name, "2024-01-01T00:00:00Z"),
        claim("alpha", by_name, "2024-01-01T00:00:00Z"),
    ];
    for (name, pod) in [("a-younger", &two), ("z-older", &one), ("beta", &two), ("alpha", &one)] {
        objects.extend(Slice::both(name, ("http", Protocol::Tcp, 8080), &[pod]));
    }
    scene.manifests.put("claims.yaml", &objects).unwrap();
    scene.run();
    assert_web_is_served(&scene);
    let client = scene.shell.client();
    for family in Family::BOTH {
        for (address, what) in [(by_age, "the older"), (by_name, "the first by name")] {
            for answer in client.many(Protocol::Tcp, address.port(family, 80), 10, 1) {
                assert_served(&answer, &["web-1"], what);
            }
        }
        let stderr = scene.stderr();
        assert_one_line(&stderr, &["default/a-younger", "default/z-older", &by_age.of(family).to_string()]);
        assert_one_line(&stderr, &["default/beta", "default/alpha", &by_name.of(family).to_string()]);
    }
    // Without the winner, the other Service takes its place.
    let rest: Vec<_> = objects.into_iter().filter(|object| object["metadata"]["name"] != "z-older").collect();
    scene.manifests.put("claims.yaml", &rest).unwrap();
    wait_until("the younger takes over", || {
        client.tcp(by_age.port(Family::V4, 80)).server() == Some("web-2")
    });
}

#[test]
fn the_longest_names_are_programmed_like_any_other() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &one);
    let (namespace, name, port) = ("n".repeat(63), "s".repeat(63), "p".repeat(63));
    let address = scene.lab.cluster_ip(2);
    let long = service(&name, address)
        .with("/metadata/namespace", namespace.as_str())
        .of_type("NodePort")
        .port(&port, Protocol::Tcp, 80)
        .node_port(30_081);
    let mut objects = vec![long.object()];
    for mut slice in Slice::both(&name, (&port, Protocol::Tcp, 8080), &[&one]) {
        slice["metadata"]["namespace"] = json!(namespace);
        objects.push(slice);
    }
    scene.manifests.put("long.yaml", &objects).unwrap();
    scene.run();
    assert_web_is_served(&scene);
    for family in Family::BOTH {
        for client in scene.everywhere() {
            let place = client.name();
            assert_served(&client.tcp(address.port(family, 80)), &["web-1"], place);
            assert_served(&client.tcp(scene.lab.node_b.outside().port(family, 30_081)), &["web-1"], place);
        }
    }
    assert_one_line(&scene.stderr(), &[&name, "is cut at 128 bytes"]);
    // The listing must stay readable for nft.
    portolan_integration::nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap();
}

#[test]
fn once_says_by_its_exit_code_that_some_input_was_not_used() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &one);
    scene.manifests.put_text("broken.yaml", "]").unwrap();
    let path = scene.manifests.path().to_str().unwrap();
    let arguments = ["run", "--once", "-f", path, "--hostname-override", "node-a"];
    let output = Agent::command(&scene.lab.node_a, &arguments).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(output.status.code(), Some(1));
    assert_one_line(&String::from_utf8_lossy(&output.stderr), &["broken.yaml"]);
    let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(Family::V4, 80));
    assert_served(&answer, &["web-1"], "the rest is programmed");
}
