//! The invariants that hold for all Services.

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::Compiler,
    model::{EndpointSlice, ObjectName, Protocol, ServicePort},
    ruleset::{RejectWith, Ruleset},
    selection::node_port_addresses::NodePortAddresses,
    simulate::{Fate, Host, Memory, Probability, simulate},
    state::State,
};

use crate::{
    cluster::answer_of,
    places::Place,
    reference::{Clients, answer},
    scene::{Scene, endpoint, in_both_families, network},
};

/// Invariant 1: packets that are delivered to the node itself, forwarded, or sent by the node get the same treatment.
#[test]
fn endpoints_in_the_nodes_own_network_are_ordinary_endpoints() {
    in_both_families(|scene| {
        let scene = scene.service(1, "H1 R1").exposed().service(2, "H1 R1").exposed().external_local();
        scene.expect(
            "what arrives for the node does not leave it again, so it is not masqueraded",
            &[
                ("L9", "ClusterIP1:80", "H1+R1"),
                ("ext1", "ClusterIP1:80", "H1+R1*"),
                ("ext1", "VIP1:80", "H1+R1*"),
                ("ext1", "node1:30080", "H1+R1*"),
                ("node1", "ClusterIP1:80", "H1+R1 SNAT"),
                ("node1", "VIP1:80", "H1+R1 SNAT"),
                ("node1", "node1:30080", "H1+R1 SNAT"),
                ("ext1", "VIP2:80", "H1"),
                ("ext1", "node1:30081", "H1"),
                ("L9", "node1:30081", "H1+R1"),
            ],
        );
    });
}

/// Invariant 2: a refused connection gets a reset for TCP and port unreachable for other protocols, everywhere.
#[test]
fn connections_are_refused_in_their_own_protocol() {
    in_both_families(|scene| {
        let ports = Protocol::ALL.map(|protocol| (protocol.name(), protocol, 80, 80));
        let scene = scene.service(1, "").ports(&ports).exposed();
        let rules = scene.cluster.compile();
        for protocol in ["tcp", "udp", "sctp"] {
            let expected = if protocol == "tcp" { RejectWith::TcpReset } else { RejectWith::PortUnreachable };
            for to in ["ClusterIP1:80", "ClusterIP1:81", "VIP1:80", "externalIP1:80", "node1:30080"] {
                for from in ["L9", "node1", "ext1"] {
                    let packet = scene.packet(from, &format!("{to}/{protocol}"));
                    let fate = scene.cluster.simulate(&rules, &packet).only_fate();
                    assert_eq!(fate, Some(Fate::Rejected(expected)), "{from} → {to}/{protocol}");
                }
            }
        }
    });
}

/// Invariant 3: an address and port without a frontend behave as if there were no proxy.
#[test]
fn only_frontends_react() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1").exposed();
        let mut flows = Vec::new();
        for from in ["L9", "node1", "ext1"] {
            for to in [
                // Other ports and protocols of external addresses.
                "VIP1:81",
                "VIP1:80/udp",
                "VIP1:0/icmp",
                "externalIP1:443",
                "externalIP1:0/icmp",
                // The node: other ports, an address that is not listed, a ClusterIP's port.
                "node1:80",
                "node1:22",
                "node1:30080/udp",
                "node1:0/icmp",
                "node2:30080",
                "othernode1:30080",
                // Node ports are ports of nodes only.
                "VIP1:30080",
                "externalIP1:30080",
                // No frontend, but an endpoint.
                "VIP7:80",
                "ext2:80",
                "L1:80",
            ] {
                flows.push((from, to, "untouched"));
            }
        }
        scene.expect("no frontend", &flows);
    });
}

/// Invariant 3: `localhost` has no node ports, whatever the list of addresses says.
#[test]
fn loopback_answers_no_node_ports() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").exposed();
        let loopback = Place::Loopback.address(scene.family);
        scene.cluster.host.insert(loopback);
        let all = network(scene.family, "0.0.0.0/0", "::/0");
        scene.cluster.node_port_addresses = NodePortAddresses::networks(vec![all]);
        scene.expect("every address", &[("ext1", "node2:30080", "L1 SNAT")]);
        let packet = portolan_rules::simulate::Packet {
            source: loopback,
            destination: loopback,
            ..scene.packet("node1", "node1:30080")
        };
        let outcome = scene.cluster.simulate(&scene.cluster.compile(), &packet);
        assert_eq!(outcome.only_fate(), Some(Fate::Untouched { masqueraded: false }));
    });
}

/// Invariant 3: a list of node port addresses of one family leaves the other family open, as in kube-proxy.
#[test]
fn a_list_of_one_family_leaves_the_other_open() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").exposed();
        let other = network(scene.family, "2001:db8:2::/64", "192.0.2.0/24");
        scene.cluster.node_port_addresses = NodePortAddresses::networks(vec![other]);
        let flows = ["node1:30080", "node2:30080", "VIP1:80"].map(|to| ("ext1", to, "L1 SNAT"));
        scene.expect("a list of the other family", &flows);
    });
}

/// Invariant 3: `primary` closes a family in which the node has no address.
#[test]
fn a_family_without_a_primary_address_is_closed() {
    in_both_families(|scene| {
        let mut scene = scene.service(1, "L1").exposed();
        let other = network(scene.family, "2001:db8:2::/64", "192.0.2.0/24");
        scene.cluster.node_port_addresses = NodePortAddresses::default();
        scene.cluster.node.addresses = vec![other.ip()];
        let flows = [
            ("ext1", "node1:30080", "untouched"),
            ("ext1", "node2:30080", "untouched"),
            ("ext1", "VIP1:80", "L1 SNAT"),
        ];
        scene.expect("the node's address is of the other family", &flows);
    });
}

/// Invariant 3: a Service without a ClusterIP of a family has no frontends in that family.
#[test]
fn a_family_without_a_cluster_ip_is_invisible() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1").exposed().edit(|service| {
            service.cluster_ips = service
                .cluster_ips
                .iter()
                .map(|ip| if ip.is_ipv4() { "fd00:96::1" } else { "10.96.0.1" })
                .map(|other| other.parse().expect("an address"))
                .collect();
        });
        let flows = ["VIP1:80", "externalIP1:80", "node1:30080"].map(|to| ("ext1", to, "untouched"));
        scene.expect("a ClusterIP of the other family only", &flows);
    });
}

/// Invariant 4.
#[test]
fn hairpin_for_pods_and_host_endpoints_but_not_for_direct_traffic() {
    in_both_families(|scene| {
        let scene =
            scene.service(1, "L1 R1").exposed().external_local().service(2, "H1").service(3, "L2/on=?");
        scene.expect(
            "hairpin",
            &[
                ("L1", "ClusterIP1:80", "L1*+R1"),
                ("L1", "VIP1:80", "L1*+R1"),
                ("L1", "node1:30080", "L1*+R1"),
                ("node1", "ClusterIP2:80", "H1 SNAT"),
                ("L2", "ClusterIP3:80", "L2 SNAT"),
                ("L1", "L1:80", "untouched"),
                ("node1", "node1:80", "untouched"),
                // The node of R1 masquerades R1's packet to itself, so this node does not.
                ("R1", "ClusterIP1:80", "L1+R1"),
            ],
        );
    });
}

/// Invariant 5: each of N endpoints is chosen with probability 1/N, also after changes.
#[test]
fn the_choice_is_uniform_whatever_came_before() {
    in_both_families(|scene| {
        let scene = scene.service(1, "").exposed();
        let service = Arc::new(scene.cluster.services[0].clone());
        let mut state = State::new(scene.cluster.node.clone());
        state.set_service(&service.name, Some(service.clone()));
        let mut compiler = Compiler::new(scene.cluster.config.clone());
        compiler.load(&mut state, &Ruleset::default());
        for ns in [0..3, 0..7, 2..7, 2..3, 1..200, 150..1100, 0..2] {
            let count = ns.len();
            let address = |n: usize| -> IpAddr {
                let base = scene.address("R1");
                match base {
                    IpAddr::V4(_) => [10, 1, (n >> 8) as u8 + 2, n as u8].into(),
                    IpAddr::V6(_) => [0xfd00, 1, 2, 0, 0, 0, 0, n as u16].into(),
                }
            };
            let slice = &scene.cluster.slices[0];
            let template = endpoint(scene.family, "R1");
            let endpoints = ns
                .map(|n| portolan_rules::model::Endpoint { address: address(n), ..template.clone() })
                .collect();
            let slice = EndpointSlice { endpoints, ..slice.clone() };
            state.set_slice(&slice.name, Some(Arc::new(slice.clone())));
            compiler.update(&mut state);
            let host = Host { local_addresses: scene.cluster.host.clone() };
            for to in ["ClusterIP1:80", "VIP1:80"] {
                let packet = scene.packet("ext1", to);
                let answer = answer_of(&simulate(&compiler.ruleset(), &host, &packet, &Memory::new()));
                assert_eq!(answer.len(), count);
                assert!(answer.values().all(|p| *p == Probability::new(1, count as u64)));
            }
        }
    });
}

/// Invariant 9: names of every length that the API allows, and frontends that make no sense, do no harm.
#[test]
fn a_service_at_the_limits_does_not_stop_the_others() {
    in_both_families(|scene| {
        let odd = network(scene.family, "0.0.0.0/32", "::/128").ip();
        let scene = scene
            .service(1, "L1")
            .exposed()
            .service(2, "L2 R2")
            .ports(&[(&"p".repeat(63), Protocol::Tcp, 80, 80)])
            .exposed()
            .edit(|service| {
                service.name = ObjectName::new("n".repeat(63), "s".repeat(63));
                service.external_ips.push(odd);
                let port = service.ports[0].clone();
                service.ports.push(ServicePort { name: "again".into(), ..port });
                service.ports.push(ServicePort {
                    name: "last".into(),
                    protocol: Protocol::Udp,
                    port: u16::MAX,
                    node_port: Some(u16::MAX),
                });
            });
        let mut scene = scene;
        let owner = scene.cluster.services[1].name.clone();
        scene.cluster.slices[1].name.namespace = owner.namespace;
        scene.cluster.slices[1].service = owner.name;
        scene.expect(
            "both are served",
            &[
                ("L9", "ClusterIP1:80", "L1"),
                ("ext1", "node1:30080", "L1 SNAT"),
                ("L9", "ClusterIP2:80", "L2+R2"),
                ("ext1", "node1:30081", "L2+R2 SNAT"),
                ("ext1", "node1:65535/udp", "reject"),
            ],
        );
        let rules = scene.cluster.compile();
        let elements = rules.tables.values().flat_map(|t| t.sets.values()).flat_map(|s| s.elements.values());
        let comments: Vec<_> = elements.filter_map(|element| element.comment.as_ref()).collect();
        assert!(comments.iter().any(|comment| comment.starts_with("nnn")));
        assert!(comments.iter().all(|comment| comment.len() <= 128), "nft takes no more");
    });
}

/// A frontend that several Services claim belongs to the oldest, and of equally old ones to the one whose name comes
/// first. Each frontend counts separately: a Service that does not get one frontend keeps its others.
#[test]
fn a_contested_frontend_belongs_to_the_oldest_service() {
    in_both_families(|scene| {
        let shared = scene.address("VIP9");
        let claim = |scene: Scene, created: Option<i64>| {
            scene.exposed().edit(|service| {
                service.created = created;
                service.load_balancer_ips.push(shared);
            })
        };
        let scene = claim(scene.service(1, "L1"), None);
        let scene = claim(scene.service(2, "L2"), Some(20));
        let scene = claim(scene.service(3, "L3"), Some(10));
        let flows = |owner| {
            [
                ("ext1", "VIP9:80", owner),
                ("ext1", "VIP1:80", "L1 SNAT"),
                ("ext1", "VIP2:80", "L2 SNAT"),
                ("ext1", "VIP3:80", "L3 SNAT"),
            ]
        };
        scene.expect("the oldest", &flows("L3 SNAT"));
        let mut scene = scene;
        scene.cluster.services[1].created = Some(10);
        scene.expect("of the same age the first name", &flows("L2 SNAT"));
        scene.cluster.services[0].created = Some(9);
        scene.expect("the older one", &flows("L1 SNAT"));
    });
}

/// An address of the node that is an externalIP too: its port belongs to the Service, all other ports to the node.
#[test]
fn an_external_ip_may_be_an_address_of_the_node() {
    in_both_families(|scene| {
        let node = scene.address("node1");
        let scene = scene.service(1, "L1").exposed().service(2, "L2").exposed().edit(|service| {
            service.external_ips = vec![node];
            service.ports[0].port = 30080;
        });
        scene.expect(
            "the externalIP comes before a node port of the same number",
            &[("ext1", "node1:30080", "L2 SNAT"), ("ext1", "node1:30081", "L2 SNAT")],
        );
        let packet = scene.packet("ext1", "node1:22");
        assert_eq!(
            scene.describe(&packet, &answer(&scene.cluster, &Clients::default(), &packet).fates),
            "untouched"
        );
    });
}
