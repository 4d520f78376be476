//! The owner of an address: ClusterIPs, load balancer addresses and externalIPs that another Service lists, and
//! ClusterIPs that are listed as endpoints.

use portolan_integration::{Dual, Family, Protocol, Service, Slice};
use serde_json::{Value, json};

use crate::{
    frontends::{assert_all_serve, assert_refuses, wait_until_serve},
    scene::{Scene, every_protocol, service, slices, wait_until},
};

fn created(service: Service, at: &str) -> Service {
    service.with("/metadata/creationTimestamp", at)
}

/// Returns Service `tool`, which is older than `shop`; `tool` has the pod web-2, `shop` has web-1.
fn tool(scene: &Scene) -> Service {
    created(every_protocol(service("tool", scene.lab.cluster_ip(2)), None), "2024-01-01T00:00:00Z")
}

fn shop(scene: &Scene) -> Service {
    created(every_protocol(service("shop", scene.lab.cluster_ip(1)), None), "2025-01-01T00:00:00Z")
}

fn external(service: Service, address: Dual) -> Service {
    Family::BOTH.iter().fold(service, |service, family| service.external_ip(address.of(*family)))
}

fn balanced(service: Service, address: Dual) -> Service {
    let service = service.of_type("LoadBalancer");
    Family::BOTH.iter().fold(service, |service, family| service.ingress(address.of(*family), None))
}

#[track_caller]
fn wait_for_line(scene: &Scene, words: &[&str]) {
    wait_until("it is reported", || {
        scene.stderr().lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

#[test]
fn a_cluster_ip_stays_with_its_service_when_others_list_it() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put("shop.yaml", &shop(&scene), slices("shop", &[&one]));
    scene.put("tool.yaml", &tool(&scene), slices("tool", &[&two]));
    scene.run();
    let stolen = scene.lab.cluster_ip(1);
    let other_port = |service: Service| service.port("spare", Protocol::Tcp, 81);
    for (thief, field) in [
        (external(other_port(tool(&scene)), stolen), "spec.externalIPs"),
        (balanced(other_port(tool(&scene)), stolen), "status.loadBalancer.ingress"),
    ] {
        scene.put("tool.yaml", &thief, slices("tool", &[&two]));
        for family in Family::BOTH {
            let address = stolen.of(family).to_string();
            wait_for_line(
                &scene,
                &["default/tool", field, &address, "is the ClusterIP of Service default/shop"],
            );
            for client in scene.everywhere() {
                assert_all_serve(&client, stolen.port(family, 80), &["web-1"], "the ClusterIP");
                assert_refuses(&client, stolen.port(family, 81), "a port that its Service does not have");
                let own = scene.lab.cluster_ip(2).port(family, 80);
                assert_all_serve(&client, own, &["web-2"], "the other's own ClusterIP");
            }
        }
    }
    // While it is no Service's ClusterIP, the address is like any other; its Service gets it back at once.
    scene.manifests.remove("shop.yaml").unwrap();
    let client = scene.shell.client();
    for family in Family::BOTH {
        wait_until_serve(&client, stolen.port(family, 80), &["web-2"], "no Service has the ClusterIP");
    }
    scene.put("shop.yaml", &shop(&scene), slices("shop", &[&one]));
    for family in Family::BOTH {
        wait_until_serve(&client, stolen.port(family, 80), &["web-1"], "its Service is back");
    }
}

#[test]
fn a_load_balancer_address_stays_where_its_controller_gave_it() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let vip = scene.lab.external_ip(1);
    scene.put("tool.yaml", &external(tool(&scene), vip), slices("tool", &[&two]));
    scene.run();
    let everywhere = scene.everywhere();
    for family in Family::BOTH {
        for client in &everywhere {
            wait_until_serve(client, vip.port(family, 80), &["web-2"], "an externalIP");
        }
    }
    scene.put("shop.yaml", &balanced(shop(&scene), vip), slices("shop", &[&one]));
    for family in Family::BOTH {
        for client in &everywhere {
            wait_until_serve(client, vip.port(family, 80), &["web-1"], "a load balancer address");
            assert_all_serve(client, vip.port(family, 80), &["web-1"], "a load balancer address");
        }
        let address = vip.of(family).to_string();
        let words = [
            "default/tool",
            "spec.externalIPs",
            &address,
            "is a load balancer address of Service default/shop",
        ];
        wait_for_line(&scene, &words);
    }
    scene.manifests.remove("shop.yaml").unwrap();
    for family in Family::BOTH {
        wait_until_serve(&everywhere[0], vip.port(family, 80), &["web-2"], "the load balancer is gone");
    }
}

#[test]
fn an_endpoint_that_is_a_cluster_ip_is_left_out() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let ranges = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.64/26", "fd00:10:96::40/122"]},
    });
    scene.manifests.put("ranges.yaml", &[ranges]).unwrap();
    let back = scene.lab.cluster_ip(1);
    scene.put("back.yaml", &every_protocol(service("back", back), None), slices("back", &[&one]));
    // A Service without a selector, with manual endpoints and, if given, `pod`.
    let front = |name: &str, n: u8, to: Dual, pod: Option<&portolan_integration::Pod>| {
        let service = service(name, scene.lab.cluster_ip(n)).port("http", Protocol::Tcp, 80);
        let slices = Family::BOTH.map(|family| {
            let slice = Slice::new(name, family).port("http", Protocol::Tcp, 8080);
            let mut slice = pod.into_iter().fold(slice, Slice::pod).object();
            let wrong = json!({"addresses": [to.of(family)], "conditions": {"ready": true}});
            match slice["endpoints"].as_array_mut() {
                Some(endpoints) => endpoints.push(wrong),
                None => slice["endpoints"] = Value::from(vec![wrong]),
            }
            slice
        });
        scene.put(&format!("{name}.yaml"), &service, slices.into());
    };
    front("front", 3, back, None);
    front("half", 4, back, Some(&two));
    front("gone", 5, scene.lab.cluster_ip(77), None);
    scene.run();
    let target = |n: u8, family| scene.lab.cluster_ip(n).port(family, 80);
    for family in Family::BOTH {
        for client in scene.everywhere() {
            assert_refuses(&client, target(3, family), "a Service whose only endpoint is a ClusterIP");
            assert_refuses(&client, target(5, family), "a Service whose only endpoint is in a ServiceCIDR");
            for answer in client.many(Protocol::Tcp, target(4, family), 20, 2) {
                assert_eq!(answer.server(), Some("web-2"), "the other endpoint serves");
            }
        }
    }
    wait_for_line(
        &scene,
        &["default/front", &back.of(Family::V4).to_string(), "ClusterIP of Service default/back"],
    );
    wait_for_line(&scene, &["default/gone", "is in a ServiceCIDR"]);
}
