//! The store of objects.

use std::sync::Arc;

use portolan_rules::model::ObjectName;
use serde_json::{Value, json};

use crate::source::{
    Change,
    cluster::{
        kind::{Nodes, ServiceCidrs, Services, Watched},
        store::{Listing, Store},
    },
    eligibility::Eligibility,
};

fn service(name: &str, version: u64, port: u16) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "resourceVersion": version.to_string()},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
    })
}

fn read<W: Watched>(object: &Value) -> W {
    serde_json::from_value(object.clone()).unwrap()
}

#[test]
fn an_equal_object_is_kept_once() {
    let mut store = Store::<Services>::new(None);
    let Some(Change::Service(_, Some(first))) = store.apply(&read(&service("web", 1, 80)), false) else {
        panic!("it is new")
    };
    let mut list = Listing::<Services>::default();
    store.add(&mut list, &read(&service("web", 2, 80)));
    let (Change::Services(all), 0) = store.replace(list) else { panic!("it is a list") };
    assert!(Arc::ptr_eq(&all[0].1, &first));
}

#[test]
fn an_object_that_becomes_another_proxys_is_gone() {
    let mut store = Store::<Services>::new(Some("mesh"));
    let labelled = |version, name: &str| {
        let mut object = service("web", version, 80);
        object["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": name});
        read::<Services>(&object)
    };
    let name = ObjectName::new("default", "web");
    assert!(matches!(store.apply(&labelled(1, "mesh"), false), Some(Change::Service(_, Some(_)))));
    assert_eq!(store.apply(&labelled(2, "other"), false), Some(Change::Service(name, None)));
    assert_eq!(store.apply(&read(&service("plain", 3, 80)), false), None);
}

#[test]
fn a_node_is_eligible_while_it_is_there_and_is_not_leaving() {
    let mut store = Store::<Nodes>::new(None);
    let eligibility = |store: &Store<Nodes>| Nodes::eligibility(store.models()).unwrap();
    assert_eq!(eligibility(&store), Eligibility::Missing, "not seen yet");
    let node = |version: u64| json!({"metadata": {"name": "n1", "resourceVersion": version.to_string()}});
    store.apply(&read(&node(1)), false);
    assert_eq!(eligibility(&store), Eligibility::Eligible);
    let mut tainted = node(2);
    tainted["spec"] = json!({"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]});
    assert!(store.apply(&read(&tainted), false).is_some());
    assert_eq!(eligibility(&store), Eligibility::Leaving);
    store.apply(&read(&node(3)), false);
    assert_eq!(eligibility(&store), Eligibility::Eligible);
    let mut deleted = node(4);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    store.apply(&read(&deleted), false);
    assert_eq!(eligibility(&store), Eligibility::Leaving);
    store.apply(&read(&node(5)), false);
    assert_eq!(store.apply(&read(&node(6)), true), Some(Change::Node(None)));
    assert_eq!(eligibility(&store), Eligibility::Missing, "gone");
}

#[test]
fn ranges_of_all_objects_count() {
    let mut store = Store::<ServiceCidrs>::new(None);
    let cidr = |name, range: &str| {
        read::<ServiceCidrs>(&json!({"metadata": {"name": name}, "spec": {"cidrs": [range]}}))
    };
    store.apply(&cidr("b", "10.97.0.0/16"), false);
    let both = vec!["10.96.0.0/16".parse().unwrap(), "10.97.0.0/16".parse().unwrap()];
    assert_eq!(store.apply(&cidr("a", "10.96.0.0/16"), false), Some(Change::ServiceCidrs(both)));
    let one = vec!["10.96.0.0/16".parse().unwrap()];
    assert_eq!(store.apply(&cidr("b", "10.97.0.0/16"), true), Some(Change::ServiceCidrs(one)));
}
