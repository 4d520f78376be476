//! Session affinity while nothing changes: behaviour.md §5, §14 invariant 7, the affinity tests of §12b.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{Answer, Client, Dual, Family, Protocol, Service, nft};

use crate::{
    frontends::{assert_all_serve, assert_source, exposed, external_targets, name, pod, put, ready, targets},
    scene::{Scene, service, wait_until},
};

pub const WEB: [&str; 3] = ["web-1", "web-2", "web-3"];

/// Returns the Service with session affinity.
pub fn sticky(service: &Service, seconds: u32) -> Service {
    let service = service.clone().with("/spec/sessionAffinity", "ClientIP");
    service.with("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", seconds)
}

/// Returns the endpoint that serves a client now.
#[track_caller]
pub fn served(client: &Client, target: SocketAddr) -> String {
    let answer = client.tcp(target);
    answer.server().unwrap_or_else(|| panic!("{} to {target}: {answer}", client.name())).to_owned()
}

/// Asserts that all of 15 connections reach this endpoint.
#[track_caller]
pub fn assert_sticks(client: &Client, target: SocketAddr, endpoint: &str, what: &str) {
    for _ in 0..15 {
        assert_eq!(served(client, target), endpoint, "{what}: {} to {target}", client.name());
    }
}

/// A number of clients so large that only once in 10^10 times all of them get the same of two endpoints, or each the
/// same of three as before.
pub const MANY: u8 = 36;

/// Returns this number of outside clients, each with its own address.
pub fn clients(scene: &Scene, count: u8, family: Family) -> Vec<Client> {
    let address = |n: u8| -> IpAddr {
        let host = 50 + n;
        Dual::new([203, 0, 113, host], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x500 + u16::from(host)]).of(family)
    };
    let client = |n| {
        scene.lab.add_client_address(address(n)).unwrap();
        scene.lab.client().from(SocketAddr::new(address(n), 0))
    };
    (0..count).map(client).collect()
}

/// Returns the endpoint that serves each of the clients.
#[track_caller]
pub fn each(clients: &[Client], target: SocketAddr) -> Vec<String> {
    clients.iter().map(|client| served(client, target)).collect()
}

/// Fifteen connections from pod, node and outside: every frontend of the port leads to the same endpoint. UDP is
/// another port, with its own choice.
#[test]
fn a_client_meets_one_endpoint_at_every_frontend_of_the_port() {
    a_client_meets_one_endpoint_at_every_frontend_of_the_port_in(Scene::new());
}

pub fn a_client_meets_one_endpoint_at_every_frontend_of_the_port_in(mut scene: Scene) {
    let [one, two, three] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    put(&scene, 1, &sticky(&exposed(&scene, 1), 3600), &ready(&[&one, &two, &three]));
    scene.run();
    for family in Family::BOTH {
        for client in scene.everywhere() {
            let [(_, first), ..] = targets(&scene, 1, family);
            let endpoint = served(&client, first);
            for (kind, target) in targets(&scene, 1, family) {
                assert_sticks(&client, target, &endpoint, kind);
            }
            let datagram = || client.udp(first).server().map(str::to_owned);
            let endpoint = datagram().expect("an answer");
            for _ in 0..15 {
                assert_eq!(datagram().as_ref(), Some(&endpoint), "{} over UDP and {family}", client.name());
            }
        }
        // Not all clients have the same endpoint.
        let clients = clients(&scene, MANY, family);
        let [(_, target), ..] = targets(&scene, 1, family);
        let before = each(&clients, target);
        assert!(before.iter().collect::<BTreeSet<_>>().len() > 1, "over {family}: {before:?}");
        let [_, (_, node_port), ..] = targets(&scene, 1, family);
        assert_eq!(each(&clients, node_port), before, "at the node port");
    }
}

/// "Not shared between its ports": each port draws for itself.
#[test]
fn the_ports_of_a_service_are_independent() {
    the_ports_of_a_service_are_independent_in(Scene::new());
}

pub fn the_ports_of_a_service_are_independent_in(mut scene: Scene) {
    let [one, two, three] = scene.web_pods();
    let address = scene.lab.cluster_ip(1);
    let two_ports =
        service(&name(1), address).port("tcp", Protocol::Tcp, 80).port("other", Protocol::Tcp, 81);
    let mut slices = crate::frontends::slices(1, &ready(&[&one, &two, &three]));
    for slice in &mut slices {
        slice["ports"] = serde_json::json!([
            {"name": "tcp", "protocol": "TCP", "port": 8080},
            {"name": "other", "protocol": "TCP", "port": 8080},
        ]);
    }
    scene.put("service-1.yaml", &sticky(&two_ports, 3600), slices);
    scene.run();
    for family in Family::BOTH {
        let clients = clients(&scene, MANY, family);
        let [at_80, at_81] = [80, 81].map(|port| each(&clients, address.port(family, port)));
        assert_ne!(at_80, at_81, "all clients have the same endpoints at both ports over {family}");
        assert_eq!(each(&clients, address.port(family, 80)), at_80, "{family}");
        assert_eq!(each(&clients, address.port(family, 81)), at_81, "{family}");
    }
}

/// Under eTP=Local the Local set has affinity, too. The client's address is kept (§3), and a remote endpoint
/// that a client had at the ClusterIP is not used.
#[test]
fn policy_local_has_affinity_among_the_endpoints_of_this_node() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let four = pod(&scene.lab.node_a, "web-4");
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let local = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    put(&scene, 1, &sticky(&local, 3600), &ready(&[&one, &two, &three, &four]));
    scene.run();
    for family in Family::BOTH {
        let clients = clients(&scene, MANY, family);
        let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
        // Some clients already have an endpoint, some of them a remote one.
        let before = each(&clients[..20], cluster_ip);
        let at_node_port = each(&clients, node_port);
        let here: BTreeSet<_> = at_node_port.iter().map(String::as_str).collect();
        assert_eq!(here, BTreeSet::from(["web-1", "web-4"]), "over {family}");
        for (before, after) in before.iter().zip(&at_node_port) {
            assert!(
                before == after || ["web-2", "web-3"].contains(&before.as_str()),
                "{before} became {after}"
            );
        }
        for (kind, target) in external_targets(&scene, 1, family) {
            assert_eq!(each(&clients, target), at_node_port, "{kind} over {family}");
        }
        let outside = scene.lab.client().from(SocketAddr::new(scene.lab.client_address().of(family), 0));
        let answers: Vec<Answer> = (0..5).map(|_| outside.tcp(node_port)).collect();
        assert_source(&answers, scene.lab.client_address().of(family), "under policy Local");
    }
}

/// Makes clients come back for longer than the timeout in total, but never pause as long; returns their endpoints, or
/// `None` if the machine was so slow that a pause may have reached the timeout.
fn come_back(clients: &[(SocketAddr, Vec<Client>)], timeout: Duration) -> Option<Vec<Vec<String>>> {
    let all = || clients.iter().map(|(target, clients)| each(clients, *target)).collect::<Vec<_>>();
    let mut seen = Instant::now();
    let before = all();
    for _ in 0..5 {
        thread::sleep(timeout / 4);
        let begun = Instant::now();
        let now = all();
        if seen.elapsed() >= timeout {
            return None;
        }
        assert_eq!(now, before, "clients that come back in time");
        seen = begun;
    }
    Some(before)
}

/// "The timer restarts per new connection"; after an idle timeout a client is drawn anew.
#[test]
fn a_client_that_stays_away_is_drawn_anew() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let exposed = exposed(&scene, 1);
    put(&scene, 1, &sticky(&exposed, 4), &ready(&[&one, &two, &three]));
    scene.run();
    let clients = Family::BOTH.map(|family| {
        let [(_, target), ..] = targets(&scene, 1, family);
        (target, clients(&scene, MANY, family))
    });
    // A slow machine needs a longer timeout.
    let told = [4, 16, 48].into_iter().find_map(|seconds| {
        put(&scene, 1, &sticky(&exposed, seconds), &ready(&[&one, &two, &three]));
        wait_until("the timeout is applied", || {
            let table = nft(scene.lab.node_a.namespace(), &["list", "table", "ip6", "portolan"], "").unwrap();
            table.contains(&format!("timeout {seconds}s"))
        });
        let timeout = Duration::from_secs(seconds.into());
        come_back(&clients, timeout).map(|before| (before, timeout))
    });
    let (before, timeout) = told.expect("the machine is fast enough");
    thread::sleep(timeout + Duration::from_millis(300));
    for ((target, clients), before) in clients.iter().zip(before) {
        assert_ne!(each(clients, *target), before, "clients that stayed away");
    }
    for family in Family::BOTH {
        let [(_, target), ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            let endpoint = served(&client, target);
            assert_sticks(&client, target, &endpoint, "with a short timeout");
        }
    }
}

/// Switching on and off takes effect both ways (§12b "affinity switch").
#[test]
fn affinity_can_be_switched_on_and_off() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let plain = exposed(&scene, 1);
    let endpoints = ready(&[&one, &two, &three]);
    put(&scene, 1, &plain, &endpoints);
    scene.run();
    let shell = scene.shell.client();
    for _ in 0..2 {
        for family in Family::BOTH {
            let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
            crate::frontends::wait_until_serve(&shell, cluster_ip, &WEB, "off");
            assert_all_serve(&shell, node_port, &WEB, "off");
        }
        put(&scene, 1, &sticky(&plain, 3600), &endpoints);
        for family in Family::BOTH {
            let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
            crate::scene::wait_until("on", || {
                let first = served(&shell, cluster_ip);
                (0..30).all(|_| served(&shell, cluster_ip) == first)
            });
            let endpoint = served(&shell, cluster_ip);
            assert_sticks(&shell, node_port, &endpoint, "on");
        }
        put(&scene, 1, &plain, &endpoints);
    }
}
