//! Beyond kube-proxy: weights of endpoints (annotation `portolan.io/weights`) and source-hash (annotation
//! `portolan.io/load-balancing`). §14 invariant 5: changes never break established TCP.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use portolan_integration::{Client, Dual, Family, Pod, Protocol, Service};
use serde_json::json;

use crate::{
    affinity::{MANY, assert_sticks, each, served, sticky},
    frontends::{assert_all_serve, exposed, node_port, put, ready, slices, targets, wait_until_serve},
    scene::{Scene, wait_until},
};

/// Writes Service 1 with these pods and weights.
fn weighted(scene: &Scene, service: &Service, weights: &[(&Pod, u16)]) {
    let pods: Vec<_> = weights.iter().map(|(pod, _)| *pod).collect();
    let mut slices = slices(1, &ready(&pods));
    for (slice, family) in slices.iter_mut().zip(Family::BOTH) {
        let entries: Vec<_> =
            weights.iter().map(|(pod, weight)| format!("{}={weight}", pod.address().of(family))).collect();
        slice["metadata"]["annotations"] = json!({"portolan.io/weights": entries.join(",")});
    }
    scene.put("service-1.yaml", service, slices);
}

pub fn source_hash(scene: &Scene, n: u8) -> Service {
    exposed(scene, n).with("/metadata/annotations", json!({"portolan.io/load-balancing": "source-hash"}))
}

/// The 99.9th percentile of the chi-square distribution with one degree of freedom.
const LIMIT: f64 = 10.8276;

/// Whether `web-1` has this share of the connections and `web-2` the rest, by a chi-square test.
fn is_divided(client: &Client, target: SocketAddr, share: f64) -> bool {
    let chi_square = || {
        let answers = client.many(Protocol::Tcp, target, 400, 2);
        let count = |name| answers.iter().filter(|answer| answer.server() == Some(name)).count() as u32;
        let (one, two) = (count("web-1"), count("web-2"));
        assert_eq!(one + two, 400, "every connection is served");
        let (expected_one, expected_two) = (400.0 * share, 400.0 * (1.0 - share));
        (f64::from(one) - expected_one).powi(2) / expected_one
            + (f64::from(two) - expected_two).powi(2) / expected_two
    };
    // A right choice fails one sample in a thousand, and four in a row once in 10^12.
    (0..4).any(|_| chi_square() < LIMIT)
}

/// Weights 3 : 1; equal shares again when the annotation is gone.
#[test]
fn weights_divide_new_connections() {
    let (scene, one, two) = weights_divide(Scene::new());
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one, &two]));
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        wait_until("equal weights", || is_divided(&scene.shell.client(), cluster_ip, 0.5));
    }
}

pub fn weights_divide_new_connections_in(scene: Scene) {
    weights_divide(scene);
}

/// Does the same, and returns the scene and the pods.
fn weights_divide(mut scene: Scene) -> (Scene, Pod, Pod) {
    let [one, two, _] = scene.web_pods();
    weighted(&scene, &exposed(&scene, 1), &[(&one, 3), (&two, 1)]);
    scene.run();
    for family in Family::BOTH {
        let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
        assert!(is_divided(&scene.shell.client(), cluster_ip, 0.75), "ClusterIP over {family}");
        assert!(is_divided(&scene.lab.client(), node_port, 0.75), "node port over {family}");
    }
    (scene, one, two)
}

#[test]
fn an_endpoint_of_weight_zero_takes_none() {
    an_endpoint_of_weight_zero_takes_none_in(Scene::new());
}

pub fn an_endpoint_of_weight_zero_takes_none_in(mut scene: Scene) {
    let [one, two, three] = scene.web_pods();
    weighted(&scene, &exposed(&scene, 1), &[(&one, 1), (&two, 0), (&three, 1)]);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in targets(&scene, 1, family) {
            assert_all_serve(&scene.shell.client(), target, &["web-1", "web-3"], kind);
        }
    }
}

/// Weight 0 drains an endpoint: it gets no new connections, and open ones continue; weight 1 brings it back.
#[test]
fn weight_zero_drains_while_open_connections_live() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let service = exposed(&scene, 1);
    weighted(&scene, &service, &[(&one, 1), (&two, 1)]);
    scene.run();
    let mut open = Vec::new();
    for family in Family::BOTH {
        let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
        for _ in 0..8 {
            open.push(scene.shell.client().open(cluster_ip).unwrap());
            open.push(scene.lab.client().open(node_port).unwrap());
        }
    }
    let on_one = open.iter().filter(|connection| connection.answer().server() == Some("web-1")).count();
    assert!(on_one > 0, "none of {} connections is to the endpoint that drains", open.len());
    for (weight, servers) in [(0, &["web-2"][..]), (1, &["web-1", "web-2"])] {
        weighted(&scene, &service, &[(&one, weight), (&two, 1)]);
        for family in Family::BOTH {
            for (kind, target) in targets(&scene, 1, family) {
                wait_until_serve(&scene.shell.client(), target, servers, kind);
            }
        }
        for connection in &mut open {
            connection.exchange("still there?").unwrap_or_else(|error| panic!("weight {weight}: {error}"));
        }
    }
}

/// Adds addresses for many outside clients, and returns the clients.
fn strangers(scene: &Scene, numbers: Range<u16>, family: Family) -> Vec<Client> {
    let address = |n: u16| -> IpAddr {
        // There are a hundred IPv4 addresses.
        Dual::new([203, 0, 113, 100 + (n % 100) as u8], [0x2001, 0xdb8, 2, 0, 0, 0, 7, n]).of(family)
    };
    let client = |n| {
        scene.lab.add_client_address(address(n)).unwrap();
        scene.lab.client().from(SocketAddr::new(address(n), 0))
    };
    numbers.map(client).collect()
}

/// Any node picks the same endpoint for a client. When one of five endpoints goes, less than 2/5 of the clients move;
/// when it comes back, all clients have their former endpoints.
#[test]
fn source_hash_leads_a_client_to_one_endpoint_from_every_node() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let four = crate::frontends::pod(&scene.lab.node_a, "web-4");
    let five = crate::frontends::pod(&scene.lab.node_b, "web-5");
    let service = source_hash(&scene, 1);
    let all: [&Pod; 5] = [&one, &two, &three, &four, &five];
    put(&scene, 1, &service, &ready(&all));
    scene.run();
    let clients = Family::BOTH.map(|family| strangers(&scene, 0..100, family));
    let at = |node: &portolan_integration::Node, i: usize| {
        each(&clients[i], node.outside().port(Family::BOTH[i], node_port(1)))
    };
    let (a, b) = (&scene.lab.node_a, &scene.lab.node_b);
    let before = [at(a, 0), at(a, 1)];
    for (i, before) in before.iter().enumerate() {
        assert_eq!(at(b, i), *before, "from node-b");
        assert_eq!(at(a, i), *before, "again");
        for pod in all {
            let share = before.iter().filter(|endpoint| *endpoint == pod.name()).count();
            assert!((5..45).contains(&share), "{} has {share} of 100 clients", pod.name());
        }
    }
    put(&scene, 1, &service, &ready(&[&one, &two, &four, &five]));
    for (i, before) in before.iter().enumerate() {
        let gone = |endpoint: &String| endpoint == "web-3";
        for node in [a, b] {
            wait_until("the endpoint is gone", || !at(node, i).iter().any(gone));
        }
        let after = at(a, i);
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let had_to = before.iter().filter(|endpoint| gone(endpoint)).count();
        println!("{moved} of 100 clients moved, {had_to} of them had to");
        assert!(moved * 5 < 2 * 100, "{moved} of 100 clients moved");
        assert_eq!(at(b, i), after, "from node-b");
    }
    // Slots may have moved; the choice depends only on the endpoints.
    put(&scene, 1, &service, &ready(&[&five, &four, &three, &two, &one]));
    for (i, before) in before.iter().enumerate() {
        for node in [a, b] {
            wait_until("the endpoint is back", || at(node, i) == *before);
        }
    }
}

/// Pods and the node also reach only one endpoint; a changed annotation applies at once.
#[test]
fn source_hash_can_be_switched_on_and_off() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let plain = exposed(&scene, 1);
    put(&scene, 1, &plain, &ready(&[&one, &two, &three]));
    scene.run();
    let names = ["web-1", "web-2", "web-3"];
    for _ in 0..2 {
        put(&scene, 1, &source_hash(&scene, 1), &ready(&[&one, &two, &three]));
        for family in Family::BOTH {
            for client in [scene.shell.client(), scene.lab.node_a.client()] {
                let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
                wait_until("on", || {
                    let first = served(&client, cluster_ip);
                    (0..30).all(|_| served(&client, cluster_ip) == first)
                });
                let endpoint = served(&client, cluster_ip);
                assert_sticks(&client, node_port, &endpoint, "the same source");
            }
        }
        put(&scene, 1, &plain, &ready(&[&one, &two, &three]));
        for family in Family::BOTH {
            let [(_, cluster_ip), ..] = targets(&scene, 1, family);
            wait_until_serve(&scene.shell.client(), cluster_ip, &names, "off");
        }
    }
}

/// An endpoint that drains takes no new connections, so the clients that session affinity led to it are drawn
/// anew, like those of a removed endpoint, and keep the new endpoint.
#[test]
fn a_draining_endpoint_gives_up_its_sticky_clients() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let service = sticky(&exposed(&scene, 1), 3600);
    weighted(&scene, &service, &[(&one, 1), (&two, 1)]);
    scene.run();
    let clients = Family::BOTH.map(|family| crate::affinity::clients(&scene, MANY, family));
    let targets = Family::BOTH.map(|family| targets(&scene, 1, family)[0].1);
    let before = [0, 1].map(|i| each(&clients[i], targets[i]));
    assert!(before.iter().all(|endpoints| endpoints.iter().any(|endpoint| endpoint == "web-1")));
    weighted(&scene, &service, &[(&one, 0), (&two, 1)]);
    for i in [0, 1] {
        wait_until("no client is led to it", || {
            each(&clients[i], targets[i]).iter().all(|endpoint| endpoint == "web-2")
        });
    }
    weighted(&scene, &service, &[(&one, 1), (&two, 1)]);
    // Clients that have an endpoint keep it, so only new clients can reach the endpoint again.
    let mut next = 0;
    wait_until("it takes connections again", || {
        let newcomers = strangers(&scene, next..next + 6, Family::V6);
        next += 6;
        each(&newcomers, targets[1]).iter().any(|endpoint| endpoint == "web-1")
    });
    for i in [0, 1] {
        for (client, endpoint) in clients[i].iter().zip(each(&clients[i], targets[i])) {
            assert_sticks(client, targets[i], &endpoint, "after it drained");
            assert_eq!(endpoint, "web-2", "drawn anew, and kept");
        }
    }
}
