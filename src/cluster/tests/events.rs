//! Warnings as Events.

use super::*;
use crate::{
    cluster::events,
    recorder::{Recorder, Warning},
};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const LOOKUP: &str = "/api/v1/namespaces/shop/services";

fn warning(reason: &'static str) -> Warning {
    Warning {
        service: ObjectName::new("shop", "web"),
        reason,
        action: "SyncProxyRules",
        note: "ä".repeat(600).into(),
    }
}

/// The documents, when there are so many.
async fn documents(server: &Server, count: usize) -> Vec<Value> {
    for _ in 0..10_000 {
        if server.documents().len() >= count {
            break;
        }
        sleep(Duration::from_millis(2)).await;
    }
    server.documents()
}

fn connection(server: &Server) -> Connection {
    Connection::new(server.client(), timing())
}

#[tokio::test]
async fn a_warning_is_written_once_where_kubectl_finds_it() {
    let server = Server::new();
    // Who manages which field, and annotations, may be long.
    let long = "f".repeat(1 << 20);
    let found = json!({"metadata": {}, "items": [
        {"metadata": {"managedFields": [{"manager": long}], "name": "web", "uid": "u-1"}},
    ]});
    server.reply(LOOKUP, Reply::json(&found));
    server.reply(LOOKUP, Reply::refuse(&status(403, "no")));
    for _ in 0..2 {
        server.reply(EVENTS, Reply::json(&json!({})));
    }
    let (recorder, warnings) = Recorder::new();
    tokio::spawn(events::write(connection(&server), "n1".into(), warnings));
    recorder.warn(warning("Refused"));
    recorder.warn(warning("Refused"));
    recorder.warn(warning("Other"));
    let written = documents(&server, 2).await;
    assert_eq!(written.len(), 2, "{written:#?}");
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
    assert_eq!(event["metadata"]["namespace"], "shop");
    assert_eq!(event["note"].as_str().unwrap().len(), 1024, "the API takes no longer one");
    event["eventTime"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // A Service that cannot be looked up has its Event all the same.
    assert_eq!(written[1]["reason"], "Other");
    assert_eq!(written[1]["regarding"]["uid"], Value::Null);
    assert!(
        server
            .requests()
            .contains(&format!("GET {LOOKUP}?fieldSelector=metadata.name=web&resourceVersion=0"))
    );
}

#[tokio::test]
async fn a_warning_that_repeats_is_counted_in_its_event() {
    let server = Server::new();
    for _ in 0..2 {
        server.reply(LOOKUP, Reply::json(&json!({"items": []})));
        server.reply(EVENTS, Reply::json(&json!({})));
    }
    let mut writer = events::Writer::new(connection(&server), "n1".into(), LONG);
    for _ in 0..3 {
        writer.take(warning("Refused")).await.unwrap();
    }
    let name = server.documents()[0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(server.documents().len(), 1);
    writer.update_every = Duration::ZERO;
    let path = format!("{EVENTS}/{name}");
    server.reply(&path, Reply::json(&json!({})));
    writer.take(warning("Refused")).await.unwrap();
    assert_eq!(server.documents()[1]["series"]["count"], 4);
    assert_eq!(server.requests().last().unwrap(), &format!("PATCH {path}"));
    // An Event that is gone is written anew.
    server.reply(&path, Reply::refuse(&status(404, "not found")));
    writer.take(warning("Refused")).await.unwrap();
    assert_eq!(server.requests().last().unwrap(), &format!("POST {EVENTS}"));
}
