//! The packet flows that kube-proxy's own unit tests pin down, and the same flows from the node itself.

use portolan_rules::model::Protocol::{Sctp, Tcp, Udp};

use crate::scene::{in_both_families, network};

#[test]
fn load_balancer_service_without_endpoints() {
    in_both_families(|scene| {
        scene.service(1, "").exposed().expect(
            "LoadBalancer Service, no endpoints",
            &[
                ("L9", "ClusterIP1:80", "reject"),
                ("L9", "node1:30080", "reject"),
                ("L9", "VIP1:80", "reject"),
                ("ext1", "externalIP1:80", "reject"),
                ("ext1", "node1:30080", "reject"),
                ("ext1", "VIP1:80", "reject"),
                ("node1", "ClusterIP1:80", "reject"),
                ("node1", "node1:30080", "reject"),
                ("node1", "VIP1:80", "reject"),
                ("ext1", "node2:30080", "untouched"),
            ],
        );
    });
}

#[test]
fn cluster_ip_basic() {
    in_both_families(|scene| {
        scene.service(1, "L1").expect(
            "ClusterIP basic",
            &[
                ("L9", "ClusterIP1:80", "L1"),
                ("R9", "ClusterIP1:80", "L1"),
                ("node1", "ClusterIP1:80", "L1 SNAT"),
            ],
        );
    });
}

#[test]
fn hairpin() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1").service(2, "L1 L2 R1");
        scene.expect(
            "Hairpin: an endpoint reaches itself through its own ClusterIP",
            &[
                ("L1", "ClusterIP1:80", "L1 SNAT"),
                ("L2", "ClusterIP1:80", "L1"),
                ("L1", "ClusterIP2:80", "L1*+L2+R1"),
                ("L1", "L1:80", "untouched"),
            ],
        );
    });
}

#[test]
fn several_ports_and_target_ports() {
    in_both_families(|scene| {
        let ports = [("http", Tcp, 80, 80), ("https", Tcp, 443, 8443)];
        scene.service(1, "L1 R1").ports(&ports).expect(
            "Multiple ports, targetPort",
            &[
                ("L9", "ClusterIP1:80", "L1+R1"),
                ("L9", "ClusterIP1:443", "L1:8443+R1:8443"),
                ("L9", "ClusterIP1:8443", "reject"),
            ],
        );
    });
}

#[test]
fn three_protocols_on_one_port() {
    in_both_families(|scene| {
        let ports = [("tcp", Tcp, 53, 8001), ("udp", Udp, 53, 8002), ("sctp", Sctp, 53, 8003)];
        scene.service(1, "L1").ports(&ports).exposed().expect(
            "TCP+UDP+SCTP on one port",
            &[
                ("L9", "ClusterIP1:53", "L1:8001"),
                ("L9", "ClusterIP1:53/udp", "L1:8002"),
                ("L9", "ClusterIP1:53/sctp", "L1:8003"),
                ("ext1", "node1:30053/udp", "L1:8002 SNAT"),
                ("ext1", "VIP1:53/sctp", "L1:8003 SNAT"),
            ],
        );
    });
}

#[test]
fn wrong_protocol_and_the_port_of_another_service() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1").service(2, "L2").ports(&[("", Tcp, 443, 443)]);
        scene.expect(
            "Wrong protocol; other Service's port",
            &[
                ("L9", "ClusterIP1:80/udp", "reject"),
                ("L9", "ClusterIP1:80/sctp", "reject"),
                ("L9", "ClusterIP1:443", "reject"),
                ("node1", "ClusterIP1:443", "reject"),
                ("L9", "ClusterIP1:0/icmp", "reject"),
            ],
        );
    });
}

#[test]
fn unallocated_cluster_ip() {
    in_both_families(|scene| {
        let scene = scene.service(1, "L1");
        let flows = |outcome| {
            [
                ("L9", "ClusterIP50:80", outcome),
                ("node1", "ClusterIP50:80", outcome),
                ("L9", "ClusterIP50:80/udp", outcome),
                ("L9", "ClusterIP50:0/icmp", outcome),
            ]
        };
        scene.expect("Unallocated ClusterIP", &flows("drop"));
        let mut scene = scene;
        scene.cluster.service_cidrs.clear();
        scene.expect("… outside of every ServiceCIDR", &flows("untouched"));
    });
}

#[test]
fn source_ranges_with_two_virtual_ips() {
    in_both_families(|scene| {
        let family = scene.family;
        let second = scene.address("VIP2");
        let scene = scene.service(1, "L1").exposed().edit(|service| {
            service.load_balancer_ips.push(second);
            service.source_ranges = vec![
                network(family, "192.0.2.0/24", "2001:db8:2::/64"),
                network(family, "198.51.100.0/25", "2001:db8:51::/121"),
            ];
        });
        scene.expect(
            "LoadBalancer, eTP=Cluster, ranges of the nodes and of half of the outside, two VIPs",
            &[
                ("L9", "ClusterIP1:80", "L1"),
                ("ext1", "node1:30080", "L1 SNAT"),
                ("ext200", "node1:30080", "L1 SNAT"),
                ("ext1", "VIP1:80", "L1 SNAT"),
                ("ext1", "VIP2:80", "L1 SNAT"),
                ("ext200", "VIP1:80", "drop"),
                ("ext200", "VIP2:80", "drop"),
                ("L9", "VIP1:80", "drop"),
                ("L9", "VIP2:80", "drop"),
                ("node1", "VIP1:80", "L1 SNAT"),
                ("node1", "VIP2:80", "L1 SNAT"),
                ("VIP1", "VIP1:80", "L1 SNAT"),
                ("VIP2", "VIP2:80", "L1 SNAT"),
            ],
        );
    });
}

#[test]
fn node_port() {
    in_both_families(|scene| {
        let flows = |second| {
            [
                ("L9", "ClusterIP1:80", "L1+R1"),
                ("ext1", "node1:30080", "L1+R1 SNAT"),
                ("node1", "node1:30080", "L1+R1 SNAT"),
                ("ext1", "node2:30080", second),
            ]
        };
        let scene = scene.service(1, "L1 R1").exposed();
        scene.expect("NodePort, second node IP unlisted", &flows("untouched"));
        let mut scene = scene;
        let all = network(scene.family, "192.0.2.0/24", "2001:db8:2::/64");
        scene.cluster.node_port_addresses =
            portolan_rules::selection::node_port_addresses::NodePortAddresses::networks(vec![all]);
        scene.expect("NodePort, second node IP listed", &flows("L1+R1 SNAT"));
        scene.expect("NodePort of another node", &[("L9", "othernode1:30080", "untouched")]);
    });
}

#[test]
fn external_policy_local() {
    in_both_families(|scene| {
        scene.service(1, "L1 R1").exposed().external_local().expect(
            "eTP=Local, L+R",
            &[
                ("L9", "ClusterIP1:80", "L1+R1"),
                ("L9", "externalIP1:80", "L1+R1"),
                ("L9", "VIP1:80", "L1+R1"),
                ("L9", "node1:30080", "L1+R1"),
                ("ext1", "externalIP1:80", "L1"),
                ("ext1", "VIP1:80", "L1"),
                ("ext1", "node1:30080", "L1"),
                ("node1", "externalIP1:80", "L1+R1 SNAT"),
                ("node1", "VIP1:80", "L1+R1 SNAT"),
                ("node1", "node1:30080", "L1+R1 SNAT"),
            ],
        );
    });
}

#[test]
fn external_policy_cluster() {
    in_both_families(|scene| {
        scene.service(1, "L1 R1").exposed().expect(
            "eTP=Cluster, L+R",
            &[
                ("L9", "ClusterIP1:80", "L1+R1"),
                ("L9", "externalIP1:80", "L1+R1 SNAT"),
                ("L9", "VIP1:80", "L1+R1 SNAT"),
                ("L9", "node1:30080", "L1+R1 SNAT"),
                ("ext1", "externalIP1:80", "L1+R1 SNAT"),
                ("ext1", "VIP1:80", "L1+R1 SNAT"),
                ("ext1", "node1:30080", "L1+R1 SNAT"),
            ],
        );
    });
}

#[test]
fn internal_policy_with_one_two_and_no_local_endpoints() {
    in_both_families(|scene| {
        let scene = scene
            .service(1, "L1 R1 R2")
            .service(2, "L1 R1 R2")
            .internal_local()
            .service(3, "L1 L2 R1")
            .internal_local()
            .service(4, "R1 R2")
            .internal_local()
            .service(5, "")
            .internal_local();
        scene.expect(
            "iTP=Cluster, then iTP=Local with 1, 2, 0 local endpoints, and after the slice is gone",
            &[
                ("L9", "ClusterIP1:80", "L1+R1+R2"),
                ("L9", "ClusterIP2:80", "L1"),
                ("L9", "ClusterIP3:80", "L1+L2"),
                ("L9", "ClusterIP4:80", "drop"),
                ("L9", "ClusterIP5:80", "reject"),
                ("node1", "ClusterIP2:80", "L1 SNAT"),
                ("node1", "ClusterIP4:80", "drop"),
            ],
        );
    });
}

#[test]
fn terminating_endpoints_under_external_policy_local() {
    in_both_families(|scene| {
        let scene = scene
            .service(1, "L1 L2 L3/t L4/x R5")
            .exposed()
            .external_local()
            .service(2, "L1/x L2/t L3/t R5")
            .exposed()
            .external_local()
            .service(3, "R5/t")
            .exposed()
            .external_local()
            .service(4, "L1/x R5/x")
            .exposed()
            .external_local();
        scene.expect(
            "eTP=Local: ready and terminating; only terminating local; only a terminating remote; none",
            &[
                ("L9", "ClusterIP1:80", "L1+L2+R5"),
                ("ext1", "VIP1:80", "L1+L2"),
                ("L9", "ClusterIP2:80", "R5"),
                ("ext1", "VIP2:80", "L2+L3"),
                ("L9", "ClusterIP3:80", "R5"),
                ("ext1", "VIP3:80", "drop"),
                ("L9", "ClusterIP4:80", "reject"),
                ("ext1", "VIP4:80", "reject"),
            ],
        );
    });
}

#[test]
fn terminating_endpoints_under_external_policy_cluster() {
    in_both_families(|scene| {
        let scene = scene
            .service(1, "L1 L2 L3/t L4/x R5")
            .exposed()
            .service(2, "L1/x L2/t L3/t R5/t")
            .exposed()
            .service(3, "R5/t")
            .exposed()
            .service(4, "L1/x R5/x")
            .exposed();
        scene.expect(
            "eTP=Cluster: ready and terminating; only terminating; only a terminating remote; none",
            &[
                ("L9", "ClusterIP1:80", "L1+L2+R5"),
                ("ext1", "VIP1:80", "L1+L2+R5 SNAT"),
                ("L9", "ClusterIP2:80", "L2+L3+R5"),
                ("ext1", "VIP2:80", "L2+L3+R5 SNAT"),
                ("L9", "ClusterIP3:80", "R5"),
                ("ext1", "VIP3:80", "R5 SNAT"),
                ("L9", "ClusterIP4:80", "reject"),
                ("ext1", "VIP4:80", "reject"),
            ],
        );
    });
}
