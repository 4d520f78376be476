//! Which clients are masqueraded, and to which endpoints each is led: three Services (default, `externalTrafficPolicy:
//! Local`, `internalTrafficPolicy: Local`) by three sources (a pod, the node, outside) by three kinds of
//! address, with and without a way to recognise pods, and with everything masqueraded.

use portolan_rules::plane::PodDetector;

use crate::scene::{Scene, in_both_families};

const ALL: &str = "L1+R1";
const ALL_SNAT: &str = "L1+R1 SNAT";
const LOCAL: &str = "L1";
const LOCAL_SNAT: &str = "L1 SNAT";

/// One row for a Service and kind of address: what becomes of connections from a pod, the node, and outside.
type Row = (&'static str, [&'static str; 3]);

/// The default, then `externalTrafficPolicy: Local`, then `internalTrafficPolicy: Local`.
const WITH_DETECTOR: [Row; 9] = [
    ("ClusterIP1:80", [ALL, ALL_SNAT, ALL_SNAT]),
    ("node1:30080", [ALL_SNAT, ALL_SNAT, ALL_SNAT]),
    ("VIP1:80", [ALL_SNAT, ALL_SNAT, ALL_SNAT]),
    ("ClusterIP2:80", [ALL, ALL_SNAT, ALL_SNAT]),
    ("node1:30081", [ALL, ALL_SNAT, LOCAL]),
    ("VIP2:80", [ALL, ALL_SNAT, LOCAL]),
    ("ClusterIP3:80", [LOCAL, LOCAL_SNAT, LOCAL_SNAT]),
    ("node1:30082", [ALL_SNAT, ALL_SNAT, ALL_SNAT]),
    ("VIP3:80", [ALL_SNAT, ALL_SNAT, ALL_SNAT]),
];

/// The rows of ClusterIPs, where they differ.
fn with_cluster_ips(rows: &[Row; 9], all: [&'static str; 3], local: [&'static str; 3]) -> [Row; 9] {
    rows.map(|(to, outcomes)| match to {
        "ClusterIP1:80" | "ClusterIP2:80" => (to, all),
        "ClusterIP3:80" => (to, local),
        _ => (to, outcomes),
    })
}

/// No client is known to be a pod, so policy Local holds for pods as for all clients but the node.
fn without_short_circuit_of_pods(rows: &[Row; 9]) -> [Row; 9] {
    rows.map(|(to, outcomes)| match to {
        "node1:30081" | "VIP2:80" => (to, [LOCAL, ALL_SNAT, LOCAL]),
        _ => (to, outcomes),
    })
}

fn scene(scene: Scene) -> Scene {
    scene
        .service(1, "L1 R1")
        .exposed()
        .service(2, "L1 R1")
        .exposed()
        .external_local()
        .service(3, "L1 R1")
        .exposed()
        .internal_local()
}

fn expect(scene: &Scene, scenario: &str, rows: &[Row; 9]) {
    for (to, outcomes) in *rows {
        for (from, outcome) in ["L9", "node1", "ext1"].into_iter().zip(outcomes) {
            scene.expect(scenario, &[(from, to, outcome)]);
        }
    }
}

#[test]
fn with_a_detector() {
    in_both_families(|empty| expect(&scene(empty), "27 cells", &WITH_DETECTOR));
}

#[test]
fn with_a_detector_of_interfaces() {
    in_both_families(|empty| {
        let pods = PodDetector::Interface { name: "veth".into(), prefix: true };
        let scene = scene(empty).configure(|config| config.pods = pods);
        expect(&scene, "27 cells, pods by their interfaces", &WITH_DETECTOR);
        scene.expect(
            "a pod of another node does not come through such an interface",
            &[("R9", "ClusterIP1:80", ALL_SNAT), ("R9", "VIP2:80", LOCAL)],
        );
    });
}

#[test]
fn a_pod_of_another_node_is_one_if_the_detector_knows_all_pods() {
    in_both_families(|empty| {
        scene(empty).expect(
            "pods by a network of the whole cluster",
            &[("R9", "ClusterIP1:80", ALL), ("R9", "VIP2:80", ALL), ("R9", "node1:30081", ALL)],
        );
    });
}

#[test]
fn without_a_detector() {
    in_both_families(|empty| {
        let rows = with_cluster_ips(&WITH_DETECTOR, [ALL; 3], [LOCAL; 3]);
        let scene = scene(empty).configure(|config| config.pods = PodDetector::None);
        expect(&scene, "27 cells without a detector", &without_short_circuit_of_pods(&rows));
        scene.expect("hairpin all the same", &[("L1", "ClusterIP1:80", "L1*+R1")]);
    });
}

#[test]
fn masquerade_all() {
    in_both_families(|empty| {
        let rows = with_cluster_ips(&WITH_DETECTOR, [ALL_SNAT; 3], [LOCAL_SNAT; 3]);
        let scene = scene(empty).configure(|config| config.masquerade_all = true);
        expect(&scene, "27 cells with masqueradeAll", &rows);
    });
}

#[test]
fn masquerade_all_without_a_detector() {
    in_both_families(|empty| {
        let rows = with_cluster_ips(&WITH_DETECTOR, [ALL_SNAT; 3], [LOCAL_SNAT; 3]);
        let scene = scene(empty).configure(|config| {
            config.masquerade_all = true;
            config.pods = PodDetector::None;
        });
        expect(&scene, "27 cells with masqueradeAll, no detector", &without_short_circuit_of_pods(&rows));
    });
}
