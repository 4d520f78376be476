//! Services that are for another proxy, or for none: nothing is programmed for them.

use std::time::Duration;

use portolan_integration::{Dual, Family, Protocol, Service, Slice, nft};
use serde_json::json;

use crate::scene::{Scene, assert_served, service};

#[test]
fn headless_external_name_and_foreign_services_are_ignored() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let addresses: Vec<Dual> = (0..16).map(|number| scene.lab.cluster_ip(number)).collect();
    let address = |number: u8| addresses[usize::from(number)];
    let port = |service: Service| service.port("http", Protocol::Tcp, 80);
    let headless = port(service("headless", address(2)))
        .with("/spec/clusterIP", "None")
        .with("/spec/clusterIPs", json!(["None"]))
        .external_ip(address(12).v4.into());
    let external_name = port(service("external-name", address(3)).of_type("ExternalName"))
        .with("/spec/externalName", "example.com")
        .external_ip(address(13).v4.into());
    let foreign = port(service("foreign", address(4)))
        .with("/metadata/labels", json!({"service.kubernetes.io/service-proxy-name": "another"}))
        .external_ip(address(14).v4.into());
    let mut objects = vec![
        port(service("web", address(1))).object(),
        headless.object(),
        external_name.object(),
        foreign.object(),
    ];
    for name in ["web", "headless", "external-name", "foreign"] {
        objects.extend(Slice::both(name, ("http", Protocol::Tcp, 8080), &[&one]));
    }
    scene.manifests.put("services.yaml", &objects).unwrap();
    scene.run();
    let client = scene.shell.client();
    for family in Family::BOTH {
        assert_served(&client.tcp(address(1).port(family, 80)), &["web-1"], "the ordinary Service");
        let ignored = |number: u8| {
            let answer = client.within(Duration::from_millis(250)).tcp(address(number).port(family, 80));
            assert!(answer.server().is_none() && !answer.is_refused(), "Service {number}: {answer}");
        };
        (2..=4).for_each(ignored);
        if family == Family::V4 {
            (12..=14).for_each(ignored);
        }
        let table = if family == Family::V4 { "ip" } else { "ip6" };
        let list = nft(scene.lab.node_a.namespace(), &["list", "table", table, "portolan"], "").unwrap();
        assert!(list.contains("default/web:http"), "the table names the Services it serves:\n{list}");
        for name in ["headless", "external-name", "foreign"] {
            assert!(!list.contains(&format!("default/{name}")), "{name} is in the table:\n{list}");
        }
        let listed = |number: u8| list.contains(&format!("{} ", address(number).of(family)));
        assert!(listed(1) && !(2..=4).any(listed), "{list}");
    }
}

#[test]
fn a_slice_labelled_headless_lends_no_endpoints() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let service = service("web", scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    let mut slices = Slice::both("web", ("http", Protocol::Tcp, 8080), &[&one]);
    for mut slice in Slice::both("web", ("http", Protocol::Tcp, 8080), &[&two]) {
        let name = slice["metadata"]["name"].as_str().unwrap();
        slice["metadata"]["name"] = json!(format!("{name}-headless"));
        slice["metadata"]["labels"]["service.kubernetes.io/headless"] = json!("");
        slices.push(slice);
    }
    scene.put("web.yaml", &service, slices);
    scene.run();
    for family in Family::BOTH {
        for answer in
            scene.shell.client().many(Protocol::Tcp, scene.lab.cluster_ip(1).port(family, 80), 20, 1)
        {
            assert_served(&answer, &["web-1"], "only the slice without the label counts");
        }
    }
}
