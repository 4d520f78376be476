//! Warnings as Events.

use std::{thread::sleep, time::Duration};

use portolan::{observe::events::Warning, source::cluster::Timing};
use portolan_integration::{ApiServer, Fault, Resource, Rule};
use portolan_rules::model::ObjectName;
use serde_json::{Value, json};

use crate::world::*;

fn warning(reason: &'static str) -> Warning {
    Warning {
        service: ObjectName::new("shop", "web"),
        reason,
        action: "SyncProxyRules",
        note: "ä".repeat(600).into(),
    }
}

/// Waits until the Events meet this condition; returns them.
#[track_caller]
fn events(server: &ApiServer, condition: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    for _ in 0..3_000 {
        let events = server.events();
        if condition(&events) {
            return events;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{:#?}", server.events());
}

fn shop() -> ApiServer {
    let server = server();
    // The UID is found even after long managedFields.
    let fields = json!([{"manager": "x".repeat(100_000)}]);
    server.put(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "managedFields": fields},
        "spec": {"clusterIP": "10.96.0.1"},
    }));
    server
}

#[test]
fn a_warning_is_written_once_where_kubectl_finds_it() {
    let world = World::new(shop(), timing());
    world.recorder.warn(warning("Refused"));
    world.recorder.warn(warning("Refused"));
    let written = events(&world.server, |events| !events.is_empty());
    let event = &written[0];
    for (field, value) in [
        ("type", "Warning"),
        ("reason", "Refused"),
        ("action", "SyncProxyRules"),
        ("reportingController", "portolan"),
        ("reportingInstance", "n1"),
        ("apiVersion", "events.k8s.io/v1"),
        ("kind", "Event"),
    ] {
        assert_eq!(event[field], value, "{field}");
    }
    let regarding =
        json!({"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web", "uid": "u-1"});
    assert_eq!(event["regarding"], regarding);
    assert_eq!(event["note"].as_str().unwrap().len(), 1024, "the API's limit");
    // An Event is also written for a Service that cannot be looked up.
    world.server.inject(Rule::always(Fault::Refuse(403, None)).of(Resource::Services));
    world.recorder.warn(warning("Other"));
    let written = events(&world.server, |events| events.len() == 2);
    let other = written.iter().find(|event| event["reason"] == "Other").unwrap();
    assert_eq!(other["regarding"]["uid"], Value::Null);
    // The lookup is by name, from the server's cache.
    let lookup = world
        .server
        .requests()
        .into_iter()
        .find(|it| it.query.get("fieldSelector").is_some_and(|it| it == "metadata.name=web"));
    assert_eq!(lookup.unwrap().query["resourceVersion"], "0");
}

#[test]
fn a_warning_that_repeats_is_counted_in_its_event() {
    let world = World::new(shop(), Timing { series: Duration::from_secs(1), ..timing() });
    for _ in 0..3 {
        world.recorder.warn(warning("Refused"));
    }
    let first = events(&world.server, |events| !events.is_empty());
    assert_eq!(first[0]["series"], Value::Null);
    sleep(Duration::from_millis(1_200));
    world.recorder.warn(warning("Refused"));
    let counted = events(&world.server, |events| !events[0]["series"].is_null());
    assert_eq!((counted.len(), &counted[0]["series"]["count"]), (1, &json!(4)));
    // If the Event is gone, a new one is written.
    world.server.forget_events();
    sleep(Duration::from_millis(1_200));
    world.recorder.warn(warning("Refused"));
    let anew = events(&world.server, |events| !events.is_empty());
    assert_ne!(anew[0]["metadata"]["name"], first[0]["metadata"]["name"]);
}
