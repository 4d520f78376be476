//! The source address that the server sees: connections are masqueraded only if the answer would not come back
//! otherwise, or if the configuration demands it.

use portolan_integration::{CLUSTER_CIDR, Family};

use crate::scene::{PROTOCOLS, Scene, assert_served};

#[test]
fn with_a_cluster_cidr_pods_keep_their_address_and_others_do_not() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_node_port(&[&one, &two]);
    scene.run();
    for family in Family::BOTH {
        for protocol in PROTOCOLS {
            for client in scene.everywhere() {
                let what = format!("{} to ClusterIP over {protocol} and {family}", client.name());
                for answer in client.many(protocol, scene.lab.cluster_ip(1).port(family, 80), 10, 1) {
                    assert_served(&answer, &["web-1", "web-2"], &what);
                    let source = answer.source().unwrap();
                    if client.name() == "shell" {
                        assert_eq!(source, scene.shell.address().of(family), "{what}");
                    } else {
                        assert!(scene.lab.node_a.owns(source), "{what}: the pod saw {source}");
                    }
                }
            }
        }
    }
}

#[test]
fn without_a_cluster_cidr_no_connection_to_a_cluster_ip_is_masqueraded() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_node_port(&[&one]);
    scene.run_with(&[]);
    for family in Family::BOTH {
        let target = scene.lab.cluster_ip(1).port(family, 80);
        for protocol in PROTOCOLS {
            for (client, expected) in [
                (scene.shell.client(), scene.shell.address()),
                (scene.lab.client(), scene.lab.client_address()),
                (scene.lab.node_a.client(), scene.lab.node_a.outside()),
            ] {
                let answer = client.probe(protocol, target);
                let what = format!("{} to ClusterIP over {protocol} and {family}", client.name());
                assert_served(&answer, &["web-1"], &what);
                assert_eq!(answer.source(), Some(expected.of(family)), "{what}");
            }
        }
        // Connections to a node port are masqueraded for every client: the answer must come back through this node.
        for client in scene.everywhere() {
            let answer = client.tcp(scene.lab.node_a.outside().port(family, 30_080));
            assert_served(&answer, &["web-1"], client.name());
            let source = answer.source().unwrap();
            assert!(scene.lab.node_a.owns(source), "{} to a node port: saw {source}", client.name());
        }
        // So are connections of a pod that lead back to itself.
        let answer = one.client().tcp(target);
        assert_served(&answer, &["web-1"], "hairpin");
        assert!(scene.lab.node_a.owns(answer.source().unwrap()), "hairpin: {answer}");
    }
}

#[test]
fn masquerade_all_hides_pods_too() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_node_port(&[&one, &two]);
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--masquerade-all"]);
    for family in Family::BOTH {
        for protocol in PROTOCOLS {
            for client in scene.everywhere() {
                let what = format!("{} to ClusterIP over {protocol} and {family}", client.name());
                let answer = client.probe(protocol, scene.lab.cluster_ip(1).port(family, 80));
                assert_served(&answer, &["web-1", "web-2"], &what);
                let source = answer.source().unwrap();
                assert!(scene.lab.node_a.owns(source), "{what}: the pod saw {source}");
            }
        }
    }
}
