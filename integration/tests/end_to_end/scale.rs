//! More than ten endpoints, and more Services than the initial size of a map.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use portolan_integration::{Agent, Answer, CLUSTER_CIDR, Dual, Family, Pod, Protocol, Service, Slice};
use serde_json::{Value, json};

use crate::scene::{Scene, assert_served, enough, service, wait_until, while_connecting};

#[test]
fn twenty_endpoints_all_get_their_share() {
    let mut scene = Scene::new();
    let ports = 8000..8020;
    let pod = scene.lab.node_b.pod("web").unwrap();
    let pod = ports.clone().fold(pod, |pod, port| pod.serve_named(Protocol::Tcp, port).unwrap());
    let service = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    let service = service.port("http", Protocol::Tcp, 80).node_port(30_080);
    // A slice has one number for each port name, so these are twenty slices per family.
    let slices = ports.clone().flat_map(|port| {
        Family::BOTH.map(|family| {
            let slice = Slice::new("web", family).named(&format!("web-{port}-{family}").to_lowercase());
            slice.port("http", Protocol::Tcp, port).pod(&pod).object()
        })
    });
    scene.put("web.yaml", &service, slices.collect());
    scene.run();
    let names: BTreeSet<String> = ports.map(|port| format!("web:{port}")).collect();
    for family in Family::BOTH {
        for (client, target) in [
            (scene.shell.client(), scene.lab.cluster_ip(1).port(family, 80)),
            (scene.lab.client(), scene.lab.node_a.outside().port(family, 30_080)),
        ] {
            let answers = client.many(Protocol::Tcp, target, enough(20), 4);
            let seen: BTreeSet<_> = answers.iter().filter_map(Answer::server).map(str::to_owned).collect();
            assert_eq!(seen, names, "{} to {target}", client.name());
            assert!(answers.iter().all(|answer| answer.server().is_some()), "all were served");
        }
    }
}

/// Returns the nth of many Services, at 10.97.x.y and the corresponding IPv6 address.
fn numbered(number: u16, pod: &Pod) -> Vec<Value> {
    let name = format!("many-{number}");
    let service: Service = service(&name, numbered_address(number)).port("http", Protocol::Tcp, 80);
    let slices = Slice::both(&name, ("http", Protocol::Tcp, 8080), &[pod]);
    std::iter::once(service.object()).chain(slices).collect()
}

fn numbered_address(number: u16) -> Dual {
    let [high, low] = number.to_be_bytes();
    Dual::new([10, 97, high, low], [0xfd00, 0x10, 0x97, 0, 0, 0, 0, number])
}

/// Replaces the manifests of these Services with those of the given numbers.
fn put_numbered(scene: &Scene, numbers: Range<u16>, pod: &Pod) {
    let objects: Vec<Value> = numbers.flat_map(|number| numbered(number, pod)).collect();
    let all = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    // In JSON, which an unoptimised binary reads ten times faster than YAML.
    scene.manifests.put_text("many.json", &all.to_string()).unwrap();
}

#[test]
fn no_new_connection_fails_while_a_start_finds_many_services_gone_and_many_new() {
    const SERVICES: u16 = 6_000;
    const CHANGED: u16 = 200;
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    let web = web.port("http", Protocol::Tcp, 80).node_port(30_080);
    scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one, &two]));
    let start = || {
        let agent =
            Agent::start(&scene.lab.node_a, scene.manifests.path(), &["--cluster-cidr", CLUSTER_CIDR]);
        agent.unwrap_or_else(|error| panic!("{error}"))
    };
    // A Service that stays, in the middle of the maps.
    let lasting = numbered_address(SERVICES / 2);
    let clients = [
        (scene.shell.client(), scene.lab.cluster_ip(1).port(Family::V4, 80)),
        (scene.shell.client(), lasting.port(Family::V6, 80)),
        (scene.lab.client(), scene.lab.node_a.outside().port(Family::V6, 30_080)),
    ];
    put_numbered(&scene, 0..SERVICES, &one);
    start().kill().unwrap();
    while_connecting(&clients, &[Protocol::Tcp], || {
        for round in 1..4 {
            let first = round * CHANGED;
            put_numbered(&scene, first..first + SERVICES, &one);
            let agent = start();
            for family in Family::BOTH {
                let probe = scene.shell.client();
                let [gone, new] = [first - 1, first + SERVICES - 1].map(numbered_address);
                assert_served(&probe.tcp(new.port(family, 80)), &["web-1"], "a Service that is new");
                let answer = probe.tcp(gone.port(family, 80));
                assert_eq!(answer.server(), None, "a Service that is gone");
            }
            agent.kill().unwrap();
        }
    });
}

#[test]
fn maps_grow_and_shrink_under_traffic() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let web = service("web", scene.lab.cluster_ip(1)).of_type("NodePort");
    let web = web.port("http", Protocol::Tcp, 80).node_port(30_080);
    scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one, &two]));
    scene.run();
    let clients = [
        (scene.shell.client(), scene.lab.cluster_ip(1).port(Family::V4, 80)),
        (scene.lab.client(), scene.lab.node_b.outside().port(Family::V6, 30_080)),
    ];
    let last = numbered_address(2500);
    while_connecting(&clients, &[Protocol::Tcp], || {
        let probe = scene.shell.client().within(Duration::from_secs(1));
        put_numbered(&scene, 1..2501, &one);
        for family in Family::BOTH {
            let target = last.port(family, 80);
            let time =
                wait_until("the last of 2500 Services", || probe.tcp(target).server() == Some("web-1"));
            println!("2500 Services more after {time:?}");
        }
        put_numbered(&scene, 1..2, &one);
        for family in Family::BOTH {
            let target = last.port(family, 80);
            let time = wait_until("the Services are gone", || probe.tcp(target).server().is_none());
            println!("2499 Services fewer after {time:?}");
        }
    });
}
