//! Compares the answers of the test API server with those recorded from a real one.

use std::collections::BTreeSet;

use portolan_integration::{Recording, Resource};
use serde_json::{Value, json};

use crate::client::{Answer, Scene};

/// Whether a recording is not compared here. Tests of the source read documents in protobuf, both the recorded ones
/// and this server's.
fn is_left_out(recording: &Recording) -> bool {
    recording.is_protobuf()
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]},
    })
}

fn slice(addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": "recorded-1-a", "namespace": "default", "labels": {"kubernetes.io/service-name": "recorded-1"},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": addresses.iter().map(|address| json!({"addresses": [address]})).collect::<Vec<_>>(),
    })
}

/// A server with the objects of the real one.
fn scene() -> Scene {
    let scene = Scene::new();
    let services = ["kubernetes", "recorded-1", "recorded-2", "recorded-3"];
    scene.server.put_all(services.map(service));
    scene.server.put(slice(&["192.0.2.9"]));
    // Version 2 is forgotten.
    scene.server.compact();
    scene
}

/// A Node, stored only to increase the server's version.
fn node() -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
}

/// The URL of the recorded request, with a version of this server in place of the real server's, and a shorter timeout.
fn url(scene: &Scene, recording: &Recording) -> String {
    let newest = scene.get("/api/v1/services?limit=1").json()["metadata"].clone();
    let parameter = |parameter: &str| match parameter.split_once('=') {
        Some(("resourceVersion", version))
            if version.parse::<u64>().is_ok_and(|it| (3..99_999_999).contains(&it)) =>
        {
            format!("resourceVersion={}", newest["resourceVersion"].as_str().unwrap())
        }
        Some(("continue", token)) if token != "nonsense" => {
            format!("continue={}", newest["continue"].as_str().unwrap())
        }
        Some(("timeoutSeconds", _)) => "timeoutSeconds=3".to_owned(),
        _ => parameter.to_owned(),
    };
    match recording.url.split_once('?') {
        Some((path, query)) => {
            format!("{path}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
        }
        None => recording.url.clone(),
    }
}

/// The parts of a document that must be equal: the names of fields, and everything but the message of a refusal.
fn shape(document: &Value) -> Value {
    let keys = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    // These fields depend on the client that wrote the object, not on the server.
    let metadata = |object: &Value| {
        let mut keys = keys(&object["metadata"]);
        keys.retain(|key| !matches!(&**key, "managedFields" | "labels" | "generation"));
        keys
    };
    if document["kind"] == "Status" {
        let causes = document["details"]["causes"].as_array().into_iter().flatten();
        let causes: Vec<_> =
            causes.map(|cause| json!({"reason": cause["reason"], "field": cause["field"]})).collect();
        return json!({
            "fields": keys(document), "kind": "Status", "reason": document["reason"], "code": document["code"],
            "details": keys(&document["details"]), "causes": causes,
            "asked": document["details"]["retryAfterSeconds"],
        });
    }
    if document["items"].is_array() {
        let items: BTreeSet<String> = document["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| json!([metadata(item), item.get("kind").is_some()]).to_string())
            .collect();
        let count = document["items"].as_array().map(|items| items.len().min(1));
        return json!({
            "fields": keys(document), "kind": document["kind"], "version": document["apiVersion"],
            "metadata": metadata(document), "items": items, "count": count,
        });
    }
    json!({"kind": document["kind"], "version": document["apiVersion"], "metadata": metadata(document)})
}

/// The kinds of the events of a watch; consecutive bookmarks count as one.
fn kinds(events: &[Value]) -> Vec<Value> {
    let mut kinds: Vec<Value> = events
        .iter()
        .map(|event| json!({"type": event["type"], "object": shape(&event["object"])}))
        .collect();
    kinds.dedup_by(|a, b| a == b && a["type"] == "BOOKMARK");
    kinds
}

fn read(mut answer: Answer) -> Vec<Value> {
    std::iter::from_fn(|| answer.event().unwrap()).collect()
}

#[test]
fn every_recorded_request_is_answered_as_by_a_real_server() {
    let recordings = Recording::all();
    assert!(recordings.len() > 25, "recordings are missing");
    let compared: Vec<_> = recordings.iter().filter(|recording| !is_left_out(recording)).collect();
    std::thread::scope(|scope| {
        for recording in compared {
            scope.spawn(|| compare(recording));
        }
    });
}

fn compare(recording: &Recording) {
    let name = &recording.name;
    let scene = scene();
    let token = recording.has_token.then_some(if name == "unauthorized-token" {
        "unknown"
    } else {
        "token-of-the-test"
    });
    let answer = scene.accepting(&recording.accept, &url(&scene, recording), token).unwrap();
    assert_eq!(answer.status, recording.status, "{name}");
    let header = |name: &str| answer.headers.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    for checked in ["content-type", "retry-after"] {
        let recorded =
            recording.headers.iter().find(|(known, _)| known == checked).map(|(_, value)| value.as_str());
        assert_eq!(header(checked), recorded, "{name}: {checked}");
    }
    if recording.is_watch() && recording.status == 200 {
        scene.server.put(node());
        if name == "watch-json" {
            scene.server.put(slice(&["192.0.2.1"]));
            scene.server.put(slice(&[]));
            scene.server.delete(Resource::EndpointSlices, "default", "recorded-1-a");
            scene.server.put(slice(&["192.0.2.9"]));
        }
        assert_eq!(kinds(&read(answer)), kinds(&recording.events()), "{name}");
    } else if let Some(document) = recording.json() {
        assert_eq!(shape(&answer.json()), shape(&document), "{name}");
    } else {
        assert_eq!(answer.text().trim_end(), recording.body.trim_end(), "{name}");
    }
}
