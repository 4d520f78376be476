//! ServiceCIDR objects: behaviour.md §7 (ClusterIP guard), §12a "Unallocated ClusterIP", §14 invariant 10.

use std::net::IpAddr;

use portolan_integration::{Answer, Family};
use serde_json::json;

use crate::{
    frontends::{
        assert_all_serve, assert_refuses, assert_silence, exposed, put, ready, targets, wait_for_silence,
    },
    scene::{Scene, wait_until},
};

fn ranges(scene: &Scene, cidrs: &[&str]) {
    let object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": cidrs},
    });
    scene.manifests.put("ranges.yaml", &[object]).unwrap();
}

#[test]
fn an_unallocated_cluster_ip_is_silent_and_follows_the_objects_at_once() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one]));
    scene.run();
    let address = scene.lab.cluster_ip(77);
    let unallocated = |family| address.port(family, 80);
    for family in Family::BOTH {
        // The router or the node answers, as it would without Portolan.
        assert_eq!(
            scene.shell.client().tcp(unallocated(family)),
            Answer::Unreachable,
            "without a ServiceCIDR"
        );
    }
    ranges(&scene, &["10.96.0.0/16", "fd00:10:96::/112"]);
    for family in Family::BOTH {
        for client in scene.everywhere() {
            wait_for_silence(&client, unallocated(family), "the range is known");
            assert_silence(&client, unallocated(family), "an unallocated ClusterIP");
            let [(_, cluster_ip), ..] = targets(&scene, 1, family);
            assert_all_serve(&client, cluster_ip, &["web-1"], "an allocated one");
            let wrong_port = scene.lab.cluster_ip(1).port(family, 81);
            assert_refuses(&client, wrong_port, "a wrong port of an allocated one");
        }
    }
    // Another range, which does not contain this address.
    ranges(&scene, &["10.96.0.0/26", "fd00:10:96::/122"]);
    for family in Family::BOTH {
        let target = unallocated(family);
        wait_until("the range is smaller", || scene.shell.client().tcp(target) == Answer::Unreachable);
        let inside: IpAddr = scene.lab.cluster_ip(33).of(family);
        assert_silence(&scene.shell.client(), (inside, 80).into(), "the rest of the range");
    }
    scene.manifests.remove("ranges.yaml").unwrap();
    for family in Family::BOTH {
        let inside = scene.lab.cluster_ip(33).port(family, 80);
        wait_until("the range is gone", || scene.shell.client().tcp(inside) == Answer::Unreachable);
    }
}

/// `--service-cluster-ip-range` applies besides the objects, from the start.
#[test]
fn the_flag_s_ranges_are_silent_besides_those_of_the_objects() {
    let mut scene = Scene::new();
    ranges(&scene, &["10.96.0.64/26", "fd00:10:96::40/122"]);
    scene.run_with(&["--service-cluster-ip-range", "10.96.0.0/26,fd00:10:96::/122"]);
    for family in Family::BOTH {
        for (number, what) in [(33, "in the flag's range"), (77, "in the object's range")] {
            assert_silence(&scene.shell.client(), scene.lab.cluster_ip(number).port(family, 80), what);
        }
        let outside = scene.lab.cluster_ip(200).port(family, 80);
        assert_eq!(scene.shell.client().tcp(outside), Answer::Unreachable, "in none of them");
    }
}
