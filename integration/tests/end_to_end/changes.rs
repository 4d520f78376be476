//! Manifests that change while the binary runs are applied at once, and open connections survive.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use portolan_integration::{Answer, Client, Connection, Family, Pod, Protocol, Slice};
use serde_json::json;

use crate::scene::{Scene, assert_refused, assert_served, service, wait_until, while_connecting};

/// Writes a NodePort Service `web`, port 80, node port 30080, with these pods.
fn web(scene: &Scene, pods: &[&Pod]) {
    let service = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    let service = service.port("http", Protocol::Tcp, 80).node_port(30_080);
    scene.put("web.yaml", &service, Slice::both("web", ("http", Protocol::Tcp, 8080), pods));
}

/// Waits until exactly these pods serve a target.
fn wait_for_servers(client: &Client, target: SocketAddr, servers: &[&str]) {
    // Before a Service exists nothing answers at its address, so a short timeout is enough.
    let client = client.within(Duration::from_secs(1));
    let time = wait_until(&format!("{target} is served by {servers:?}"), || {
        let answers = client.many(Protocol::Tcp, target, 15 * servers.len(), 2);
        let seen: BTreeSet<_> = answers.iter().filter_map(Answer::server).collect();
        seen == servers.iter().copied().collect() && answers.iter().all(|answer| answer.server().is_some())
    });
    println!("{} to {target}: served by {servers:?} after {time:?}", client.name());
}

/// Connections to the Service from a pod, the node and outside, in both families; all must survive
/// every change.
struct Open(Vec<Connection>);

impl Open {
    fn new(scene: &Scene) -> Self {
        let open = |family| {
            let cluster_ip = scene.lab.cluster_ip(1).port(family, 80);
            let node_port = scene.lab.node_a.outside().port(family, 30_080);
            [
                scene.shell.client().open(cluster_ip).unwrap(),
                scene.lab.node_a.client().open(cluster_ip).unwrap(),
                scene.lab.client().open(node_port).unwrap(),
            ]
        };
        Self(Family::BOTH.into_iter().flat_map(open).collect())
    }

    fn assert_alive(&mut self, after: &str) {
        for connection in &mut self.0 {
            let who = connection.answer().to_string();
            connection
                .exchange("still there?")
                .unwrap_or_else(|error| panic!("after {after}: {who}: {error}"));
        }
    }
}

#[test]
fn scaling_adds_and_removes_endpoints_and_breaks_no_connection() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    let mut open = Open::new(&scene);
    for (pods, servers) in [
        (vec![&one, &two, &three], vec!["web-1", "web-2", "web-3"]),
        (vec![&two, &three], vec!["web-2", "web-3"]),
        (vec![&three], vec!["web-3"]),
        // All endpoints are replaced.
        (vec![&one, &two], vec!["web-1", "web-2"]),
        (vec![&three, &one], vec!["web-1", "web-3"]),
    ] {
        web(&scene, &pods);
        for family in Family::BOTH {
            wait_for_servers(&scene.shell.client(), scene.lab.cluster_ip(1).port(family, 80), &servers);
            wait_for_servers(&scene.lab.client(), scene.lab.node_b.outside().port(family, 30_080), &servers);
        }
        open.assert_alive(&format!("a change to {servers:?}"));
    }
}

#[test]
fn the_last_endpoint_gone_refuses_and_the_first_one_serves_again() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    let mut open = Open::new(&scene);
    web(&scene, &[]);
    for family in Family::BOTH {
        let targets =
            [scene.lab.cluster_ip(1).port(family, 80), scene.lab.node_a.outside().port(family, 30_080)];
        for target in targets {
            let client = scene.shell.client();
            wait_until("it refuses", || client.tcp(target).is_refused());
            assert_refused(&client.tcp(target), "without endpoints");
        }
    }
    open.assert_alive("the endpoint went");
    web(&scene, &[&two]);
    for family in Family::BOTH {
        wait_for_servers(&scene.shell.client(), scene.lab.cluster_ip(1).port(family, 80), &["web-2"]);
    }
    open.assert_alive("another endpoint came");
}

#[test]
fn ports_change_and_old_ones_refuse() {
    let mut scene = Scene::new();
    let one = scene.lab.node_b.pod("web-1").unwrap();
    let one = one.serve_named(Protocol::Tcp, 8080).unwrap().serve_named(Protocol::Tcp, 9090).unwrap();
    let address = scene.lab.cluster_ip(1);
    let write = |scene: &Scene, port, node_port, target| {
        let service = service("web", address).of_type("NodePort");
        let service = service.port("http", Protocol::Tcp, port).node_port(node_port);
        scene.put("web.yaml", &service, Slice::both("web", ("http", Protocol::Tcp, target), &[&one]));
    };
    write(&scene, 80, 30_080, 8080);
    scene.run();
    let mut open = Open::new(&scene);
    // The Service's port and node port move.
    write(&scene, 81, 30_081, 8080);
    for family in Family::BOTH {
        let node = scene.lab.node_a.outside();
        wait_for_servers(&scene.shell.client(), address.port(family, 81), &["web-1:8080"]);
        wait_for_servers(&scene.lab.client(), node.port(family, 30_081), &["web-1:8080"]);
        assert_refused(&scene.shell.client().tcp(address.port(family, 80)), "the old port");
        assert_refused(&scene.lab.client().tcp(node.port(family, 30_080)), "the old node port");
    }
    open.assert_alive("the port moved");
    // The pods' port moves.
    write(&scene, 81, 30_081, 9090);
    for family in Family::BOTH {
        wait_for_servers(&scene.shell.client(), address.port(family, 81), &["web-1:9090"]);
    }
    open.assert_alive("the pods' port moved");
}

#[test]
fn a_deleted_service_is_forgotten_and_its_connections_live_on() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    let mut open = Open::new(&scene);
    scene.manifests.remove("web.yaml").unwrap();
    for family in Family::BOTH {
        for client in [scene.shell.client(), scene.lab.node_a.client()] {
            let target = scene.lab.cluster_ip(1).port(family, 80);
            let client = client.within(Duration::from_secs(1));
            wait_until("the Service is gone", || client.tcp(target).server().is_none());
        }
        // No rule is left for the node port: connections reach the node's own process.
        let _server =
            scene.lab.node_a.serve(family, scene.lab.node_a.outside(), Protocol::Tcp, 30_080).unwrap();
        let answer = scene.lab.client().tcp(scene.lab.node_a.outside().port(family, 30_080));
        assert_served(&answer, &["node-a"], "the former node port");
    }
    open.assert_alive("the Service was deleted");
    web(&scene, &[&one]);
    for family in Family::BOTH {
        wait_for_servers(&scene.shell.client(), scene.lab.cluster_ip(1).port(family, 80), &["web-1"]);
    }
    open.assert_alive("the Service came back");
}

#[test]
fn a_changed_type_opens_and_closes_the_node_port() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let cluster_ip_only = |scene: &Scene| {
        let service = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
        scene.put("web.yaml", &service, Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one]));
    };
    web(&scene, &[&one]);
    scene.run();
    let mut open = Open::new(&scene);
    cluster_ip_only(&scene);
    for family in Family::BOTH {
        let target = scene.lab.node_a.outside().port(family, 30_080);
        wait_until("the node port is closed", || scene.lab.client().tcp(target).is_refused());
        wait_for_servers(&scene.shell.client(), scene.lab.cluster_ip(1).port(family, 80), &["web-1"]);
    }
    open.assert_alive("the node port was closed");
    web(&scene, &[&one]);
    for family in Family::BOTH {
        wait_for_servers(&scene.lab.client(), scene.lab.node_a.outside().port(family, 30_080), &["web-1"]);
    }
    open.assert_alive("the node port was opened");
    let foreign = service("web", scene.lab.cluster_ip(1))
        .port("http", Protocol::Tcp, 80)
        .with("/metadata/labels", json!({"service.kubernetes.io/service-proxy-name": "another"}));
    scene.put("web.yaml", &foreign, Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one]));
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        let client = scene.shell.client().within(Duration::from_secs(1));
        wait_until("it was given away", || client.tcp(target).server().is_none());
    }
    open.assert_alive("the Service was given to another proxy");
}

#[test]
fn a_half_written_file_keeps_its_last_good_state() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    let file = scene.manifests.file("web.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let client = scene.shell.client();
    // Cut in the middle of the Service's first port.
    let cut = good.find("protocol").unwrap() + 4;
    std::fs::write(&file, &good[..cut]).unwrap();
    wait_until("the file is reported", || scene.stderr().contains("web.yaml"));
    assert_served(&client.tcp(target), &["web-1"], "while the file is half-written");
    // Meanwhile other files are still applied.
    let other = service("other", scene.lab.cluster_ip(2)).port("http", Protocol::Tcp, 80);
    scene.put("other.yaml", &other, Slice::both("other", ("http", Protocol::Tcp, 8080), &[&two]));
    wait_for_servers(&client, scene.lab.cluster_ip(2).port(Family::V4, 80), &["web-2"]);
    assert_served(&client.tcp(target), &["web-1"], "after a change of another file");
    web(&scene, &[&two]);
    wait_for_servers(&client, target, &["web-2"]);
}

#[test]
fn no_new_connection_fails_while_endpoints_come_and_go() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    web(&scene, &[&one]);
    scene.run();
    let clients = [
        (scene.shell.client(), scene.lab.cluster_ip(1).port(Family::V4, 80)),
        (scene.lab.client(), scene.lab.node_b.outside().port(Family::V6, 30_080)),
    ];
    while_connecting(&clients, &[Protocol::Tcp], || {
        // One endpoint always stays, whatever its slot.
        for _ in 0..10 {
            for pods in [&[&one, &two, &three][..], &[&three, &one], &[&three], &[&one, &three], &[&one]] {
                web(&scene, pods);
                std::thread::sleep(Duration::from_millis(30));
            }
        }
    });
}
