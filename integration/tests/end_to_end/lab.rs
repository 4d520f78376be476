//! The lab itself, without Portolan: the properties on which the other tests rely.

use portolan_integration::{Family, Lab, Notifications, Protocol, nft};

use crate::scene::{Scene, assert_refused, assert_served, wait_until};

#[test]
fn every_place_reaches_the_nodes_and_nodes_reach_every_pod() {
    let scene = Scene::new();
    let pods = scene.web_pods();
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            for pod in &pods {
                for client in [scene.shell.client(), scene.lab.node_a.client(), scene.lab.node_b.client()] {
                    let answer = client.probe(protocol, pod.address().port(family, 8080));
                    let what = format!("{} to {} over {protocol} and {family}", client.name(), pod.name());
                    assert_served(&answer, &[pod.name()], &what);
                }
            }
            for node in scene.lab.nodes() {
                let _server = node.serve(family, node.outside(), protocol, 9000).unwrap();
                for client in scene.everywhere() {
                    let answer = client.probe(protocol, node.outside().port(family, 9000));
                    let what = format!("{} to {} over {protocol} and {family}", client.name(), node.name());
                    assert_served(&answer, &[node.name()], &what);
                }
            }
        }
    }
}

#[test]
fn a_server_sees_the_pod_that_asks() {
    let scene = Scene::new();
    let [.., web] = scene.web_pods();
    for family in Family::BOTH {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            let answer = scene.shell.client().probe(protocol, web.address().port(family, 8080));
            assert_eq!(answer.source(), Some(scene.shell.address().of(family)), "{protocol} {family}");
        }
    }
}

#[test]
fn a_closed_port_refuses_and_a_deleted_pod_is_gone() {
    let scene = Scene::new();
    let [web, ..] = scene.web_pods();
    let address = web.address();
    for family in Family::BOTH {
        let client = scene.shell.client();
        assert_refused(&client.tcp(address.port(family, 81)), "TCP to a closed port");
        assert_refused(&client.udp(address.port(family, 81)), "UDP to a closed port");
    }
    web.delete().unwrap();
    for family in Family::BOTH {
        let client = scene.shell.client().within(std::time::Duration::from_millis(300));
        let answer = client.tcp(address.port(family, 8080));
        assert!(answer.server().is_none(), "a deleted pod: {answer}");
    }
}

#[test]
fn a_connection_stays_open_and_a_source_can_be_chosen() {
    let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
    let _server = lab.node_a.serve(Family::V4, lab.node_a.outside(), Protocol::Tcp, 9000).unwrap();
    let source = std::net::SocketAddr::from(([203, 0, 113, 77], 40_000));
    lab.add_client_address(source.ip()).unwrap();
    let target = lab.node_a.outside().port(Family::V4, 9000);
    let mut connection = lab.client().from(source).open(target).unwrap();
    assert_eq!(connection.local_address().unwrap(), source);
    for number in 0..3 {
        connection.exchange(&format!("message {number}")).unwrap();
    }
}

#[test]
fn what_comes_for_a_load_balancer_address_is_spread_over_both_nodes() {
    let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
    let vip = lab.external_ip(9);
    for family in Family::BOTH {
        let length = if family == Family::V4 { 32 } else { 128 };
        let servers = lab.nodes().map(|node| {
            let nodad = if family == Family::V4 { "" } else { " nodad" };
            let command = format!("addr add {}/{length} dev lo{nodad}\n", vip.of(family));
            node.namespace().ip(&command).unwrap();
            node.serve(family, vip, Protocol::Tcp, 80).unwrap()
        });
        let answers = lab.client().many(Protocol::Tcp, vip.port(family, 80), 80, 4);
        for node in lab.nodes() {
            let count = answers.iter().filter(|answer| answer.server() == Some(node.name())).count();
            assert!(count > 5, "{} got {count} of 80 connections over {family}", node.name());
        }
        drop(servers);
    }
}

#[test]
fn notifications_say_what_was_written_and_by_which_process() {
    let lab = Lab::new().unwrap_or_else(|error| panic!("{error}"));
    let namespace = lab.node_a.namespace();
    let quiet = Notifications::start(namespace).unwrap();
    nft(namespace, &["list", "ruleset"], "").unwrap();
    assert_eq!(quiet.changes().unwrap(), Vec::<String>::new(), "listing writes nothing");
    nft(namespace, &["-f", "-"], "add table ip something\n").unwrap();
    wait_until("the change is reported", || {
        quiet.changes().unwrap().iter().any(|line| line.contains("something"))
    });
}
