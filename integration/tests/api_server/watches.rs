//! Watches.

use std::time::Duration;

use portolan_integration::Resource;
use serde_json::json;

use crate::client::{SERVICES, Scene, service};

const WATCH: &str = "/api/v1/services?watch=true";

#[test]
fn a_watch_sends_what_came_after_its_version() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", None)]);
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=1"));
    assert_eq!(watch.status, 200);
    assert_eq!(watch.events(1), ["ADDED b 2"]);
    scene.server.put(service("b", None));
    scene.server.delete(Resource::Services, "default", "a");
    assert_eq!(watch.events(2), ["MODIFIED b 3", "DELETED a 4"]);
    let mut again = scene.get(&format!("{WATCH}&resourceVersion=2"));
    let event = again.event().unwrap().unwrap();
    assert_eq!((&event["object"]["kind"], &event["object"]["apiVersion"]), (&json!("Service"), &json!("v1")));
    assert_eq!(again.events(1), ["DELETED a 4"]);
    // A watch from a future version sends nothing until that version has passed.
    let mut future = scene.get(&format!("{WATCH}&resourceVersion=5&allowWatchBookmarks=true"));
    scene.server.put(service("b", None));
    scene.server.send_bookmarks();
    assert!(future.is_silent(Duration::from_millis(200)));
    scene.server.put(service("b", None));
    assert_eq!(future.events(1), ["MODIFIED b 6"]);
}

#[test]
fn a_watch_without_a_version_begins_with_what_there_is() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", None)]);
    for parameters in ["", "&resourceVersion=0"] {
        let mut watch = scene.get(&format!("{WATCH}{parameters}"));
        assert_eq!(watch.events(2), ["ADDED a 1", "ADDED b 2"]);
    }
}

#[test]
fn what_no_longer_matches_is_deleted_and_what_now_does_is_added() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", Some("hidden"))]);
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=2&labelSelector=!hidden"));
    scene.server.put(service("a", Some("hidden")));
    scene.server.put(service("a", Some("hidden")));
    scene.server.put(service("b", None));
    scene.server.put(service("b", None));
    scene.server.delete(Resource::Services, "default", "a");
    scene.server.put(service("c", None));
    assert_eq!(watch.events(4), ["DELETED a 3", "ADDED b 5", "MODIFIED b 6", "ADDED c 8"]);
}

#[test]
fn a_watch_is_of_one_kind() {
    let scene = Scene::new();
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=0"));
    scene.server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}));
    scene.server.put(service("a", None));
    assert_eq!(watch.events(1), ["ADDED a 2"]);
}

#[test]
fn a_streaming_list_ends_with_a_marked_bookmark() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", Some("hidden"))]);
    let url =
        format!("{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&labelSelector=!hidden");
    let mut watch = scene.get(&format!("{url}&allowWatchBookmarks=true"));
    assert_eq!(watch.events(1), ["ADDED a 1"]);
    let end = watch.event().unwrap().unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(end["object"]["metadata"]["resourceVersion"], "2");
    scene.server.put(service("c", None));
    assert_eq!(watch.events(1), ["ADDED c 3"]);

    let mut without =
        scene.get(&format!("{WATCH}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"));
    scene.server.put(service("d", None));
    assert_eq!(without.events(1), ["ADDED d 4"]);
    assert_eq!(scene.get(&format!("{WATCH}&sendInitialEvents=true")).status, 422);
}

#[test]
fn a_forgotten_version_is_gone() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", None)]);
    let mut current = scene.get(&format!("{WATCH}&resourceVersion=2"));
    scene.server.compact();
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=1"));
    assert_eq!(watch.status, 200);
    let error = watch.event().unwrap().unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(watch.event().unwrap(), None, "it is over");
    scene.server.refuse_old_watches();
    assert_eq!(scene.get(&format!("{WATCH}&resourceVersion=1")).status, 410);
    scene.server.put(service("c", None));
    assert_eq!(current.events(1), ["ADDED c 3"], "a watch that was up to date goes on");
    assert_eq!(scene.get(&format!("{WATCH}&resourceVersion=2")).events(1), ["ADDED c 3"]);
}

#[test]
fn bookmarks_come_when_they_are_due_or_asked_for() {
    let scene = Scene::with_bookmarks(Duration::from_secs(1));
    scene.server.put(service("a", None));
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=1&allowWatchBookmarks=true"));
    let mut other = scene.get(&format!("{WATCH}&resourceVersion=2"));
    let node = || json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    scene.server.put(node());
    assert_eq!(watch.events(2), ["BOOKMARK - 2", "BOOKMARK - 2"]);
    assert!(other.is_silent(Duration::from_millis(100)), "a watch that does not ask for them gets none");
    // No bookmark is sent for the version from which the watch began.
    let mut same = scene.get(&format!("{WATCH}&resourceVersion=2&allowWatchBookmarks=true"));
    assert!(same.is_silent(Duration::from_millis(1_500)));
    // The last bookmark comes before the end of the watch.
    let scene = Scene::new();
    let mut ends = scene.get(&format!("{WATCH}&resourceVersion=0&allowWatchBookmarks=true&timeoutSeconds=3"));
    scene.server.put(node());
    assert_eq!(ends.events(1), ["BOOKMARK - 1"]);
    assert_eq!(ends.event().unwrap(), None);

    let scene = Scene::new();
    let mut watch = scene.get(&format!("{WATCH}&resourceVersion=0&allowWatchBookmarks=true"));
    scene.server.put(service("a", Some("hidden")));
    assert_eq!(watch.events(1), ["ADDED a 1"]);
    scene.server.send_bookmarks();
    assert_eq!(watch.events(1), ["BOOKMARK - 1"]);
}

#[test]
fn a_watch_ends_after_its_timeout() {
    let scene = Scene::new();
    let mut watch = scene.get(&format!("{WATCH}&timeoutSeconds=1"));
    assert_eq!(watch.event().unwrap(), None);
    assert_eq!(scene.get(SERVICES).status, 200);
}
