//! Traffic policies Local: behaviour.md §3 (matrix, short-circuit), §4 (4: silence or refusal), §14 invariants
//! 1 and 2; the rows `iTP=Local` and `eTP=Local` of §12a.

use portolan_integration::Family;

use crate::{
    frontends::{
        assert_all_serve, assert_masqueraded, assert_refuses, assert_silence, assert_source, exposed,
        external_targets, put, ready, targets, wait_for_silence, wait_until_serve,
    },
    scene::{Scene, wait_until},
};

/// §12a "iTP=Local with 1 local": only the endpoint of the client's node; pods keep their address (§3).
#[test]
fn internal_local_leads_to_the_endpoint_of_this_node() {
    internal_local_leads_to_the_endpoint_of_this_node_in(Scene::new());
}

pub fn internal_local_leads_to_the_endpoint_of_this_node_in(mut scene: Scene) {
    let [one, two, three] = scene.web_pods();
    let service = exposed(&scene, 1).with("/spec/internalTrafficPolicy", "Local");
    put(&scene, 1, &service, &ready(&[&one, &two, &three]));
    scene.run();
    for family in Family::BOTH {
        let [(_, cluster_ip), external @ ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            let answers = assert_all_serve(&client, cluster_ip, &["web-1"], "ClusterIP");
            if client.name() == "shell" {
                assert_source(&answers, scene.shell.address().of(family), "a pod to ClusterIP");
            } else {
                assert_masqueraded(&answers, &scene.lab.node_a, client.name());
            }
        }
        let there = scene.lab.node_b.client();
        assert_all_serve(&there, cluster_ip, &["web-2", "web-3"], "ClusterIP");
        // The policy applies to the ClusterIP only (§3).
        for (kind, target) in external {
            assert_all_serve(&scene.shell.client(), target, &["web-1", "web-2", "web-3"], kind);
        }
    }
}

/// §12a "iTP=Local with 0 local: drop; after slice deletion reject".
#[test]
fn internal_local_is_silent_with_endpoints_elsewhere_and_refuses_without_any() {
    let mut scene = Scene::new();
    let [_, two, _] = scene.web_pods();
    let service = exposed(&scene, 1).with("/spec/internalTrafficPolicy", "Local");
    put(&scene, 1, &service, &ready(&[&two]));
    scene.run();
    for family in Family::BOTH {
        let [(_, cluster_ip), (_, node_port), ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            assert_silence(&client, cluster_ip, "ClusterIP with endpoints elsewhere");
            assert_all_serve(&client, node_port, &["web-2"], "node port");
        }
        assert_all_serve(&scene.lab.node_b.client(), cluster_ip, &["web-2"], "ClusterIP");
    }
    scene.put("service-1.yaml", &service, Vec::new());
    for family in Family::BOTH {
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            wait_until("it refuses", || client.tcp(cluster_ip).is_refused());
            assert_refuses(&client, cluster_ip, "ClusterIP without endpoints");
        }
    }
}

/// §12a "eTP=Local, L+R": outside clients reach only L and keep their address; pods and the node reach all (§3).
#[test]
fn external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node() {
    external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node_in(Scene::new());
}

pub fn external_local_keeps_the_client_s_address_and_short_circuits_pods_and_the_node_in(mut scene: Scene) {
    let [one, two, _] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    put(&scene, 1, &service, &ready(&[&one, &two]));
    scene.run();
    let all = ["web-1", "web-2"];
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            let answers = assert_all_serve(&scene.lab.client(), target, &["web-1"], kind);
            assert_source(&answers, scene.lab.client_address().of(family), kind);
            let answers = assert_all_serve(&scene.shell.client(), target, &all, kind);
            assert_source(&answers, scene.shell.address().of(family), kind);
            let answers = assert_all_serve(&scene.lab.node_a.client(), target, &all, kind);
            assert_masqueraded(&answers, &scene.lab.node_a, kind);
        }
        let there = scene.lab.node_b.outside().port(family, 30_080);
        // Each node has its own Local set.
        assert_all_serve(&scene.lab.client(), there, &["web-2"], "the other node's node port");
    }
}

/// §3 and §4 (4): without an endpoint here, silence for outside clients; §12a "… only terminating R5: drop".
#[test]
fn external_local_without_a_local_endpoint_is_silent_to_the_outside_only() {
    external_local_without_a_local_endpoint_is_silent_to_the_outside_only_in(Scene::new());
}

pub fn external_local_without_a_local_endpoint_is_silent_to_the_outside_only_in(mut scene: Scene) {
    let [one, two, three] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    put(&scene, 1, &service, &ready(&[&two, &three]));
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            assert_silence(&scene.lab.client(), target, kind);
            let answers = assert_all_serve(&scene.shell.client(), target, &["web-2", "web-3"], kind);
            assert_source(&answers, scene.shell.address().of(family), kind);
            let answers = assert_all_serve(&scene.lab.node_a.client(), target, &["web-2", "web-3"], kind);
            assert_masqueraded(&answers, &scene.lab.node_a, kind);
        }
        let [(_, cluster_ip), ..] = targets(&scene, 1, family);
        assert_all_serve(&scene.lab.client(), cluster_ip, &["web-2", "web-3"], "ClusterIP");
    }
    // Rules for iptables are loaded only once and do not follow changes.
    if scene.is_iptables() {
        return;
    }
    // A new endpoint on this node is used; after its removal there is silence.
    put(&scene, 1, &service, &ready(&[&one, &two, &three]));
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            wait_until_serve(&scene.lab.client(), target, &["web-1"], kind);
        }
    }
    put(&scene, 1, &service, &ready(&[&two, &three]));
    for family in Family::BOTH {
        for (kind, target) in external_targets(&scene, 1, family) {
            wait_for_silence(&scene.lab.client(), target, kind);
        }
    }
}

/// §4 (4): no endpoint on any node is a refusal, whatever the policies say.
#[test]
fn both_policies_refuse_without_endpoints() {
    both_policies_refuse_without_endpoints_in(Scene::new());
}

pub fn both_policies_refuse_without_endpoints_in(mut scene: Scene) {
    let service = exposed(&scene, 1)
        .with("/spec/externalTrafficPolicy", "Local")
        .with("/spec/internalTrafficPolicy", "Local");
    put(&scene, 1, &service, &[]);
    scene.run();
    for family in Family::BOTH {
        for (kind, target) in targets(&scene, 1, family) {
            for client in scene.everywhere() {
                assert_refuses(&client, target, kind);
            }
        }
    }
}

/// A change of the policy takes effect both ways (§12b "eTP change … revert works").
#[test]
fn the_external_policy_can_be_changed() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    let cluster = exposed(&scene, 1);
    let local = cluster.clone().with("/spec/externalTrafficPolicy", "Local");
    put(&scene, 1, &cluster, &ready(&[&one, &two]));
    scene.run();
    for (service, servers) in
        [(&cluster, &["web-1", "web-2"][..]), (&local, &["web-1"]), (&cluster, &["web-1", "web-2"])]
    {
        put(&scene, 1, service, &ready(&[&one, &two]));
        for family in Family::BOTH {
            for (kind, target) in external_targets(&scene, 1, family) {
                wait_until_serve(&scene.lab.client(), target, servers, kind);
                let answers = assert_all_serve(&scene.lab.client(), target, servers, kind);
                if servers.len() == 1 {
                    assert_source(&answers, scene.lab.client_address().of(family), kind);
                } else {
                    assert_masqueraded(&answers, &scene.lab.node_a, kind);
                }
            }
        }
    }
}
