//! Authentication, lists, single objects, Events.

use portolan_integration::{Resource, Verb, Wrong};
use serde_json::json;

use crate::client::{SERVICES, SLICES, Scene, names, service};

#[test]
fn a_client_without_a_valid_token_is_refused() {
    let scene = Scene::new();
    for (token, code, reason) in [(None, 403, "Forbidden"), (Some("guessed"), 401, "Unauthorized")] {
        let answer = scene.request("GET", SERVICES, token, "").unwrap();
        assert_eq!(answer.status, code);
        let status = answer.json();
        assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!(reason)));
    }
    scene.server.set_token("another");
    assert_eq!(scene.get(SERVICES).status, 401);
    assert_eq!(scene.request("GET", SERVICES, Some("another"), "").unwrap().status, 200);
}

#[test]
fn the_certificate_is_signed_by_the_authority_of_the_kubeconfig_and_by_no_other() {
    let scene = Scene::new();
    let wrong = scene.server.wrong_kubeconfig(Wrong::Authority).unwrap().with_extension("crt");
    let authority = std::fs::read(wrong).unwrap();
    let error = scene.request_trusting(&authority, "GET", SERVICES, None, "").err().expect("not trusted");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[test]
fn a_list_has_a_version_and_items_without_kind() {
    let scene = Scene::new();
    scene.server.put_all([service("b", None), service("a", None)]);
    let list = scene.get(SERVICES).json();
    assert_eq!(list["kind"], "ServiceList");
    assert_eq!(list["metadata"], json!({"resourceVersion": "2"}));
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(list["items"][0]["metadata"]["resourceVersion"], "2");
    assert!(list["items"][0].get("kind").is_none());
    assert_eq!(names(&scene.get(SLICES).json()), [""; 0]);
    assert_eq!(names(&scene.get("/api/v1/namespaces/other/services").json()), [""; 0]);
    let one = scene.get("/api/v1/namespaces/default/services/a").json();
    assert_eq!((&one["kind"], &one["metadata"]["name"]), (&json!("Service"), &json!("a")));
    for nowhere in ["/api/v1/namespaces/default/services/c", "/api/v1/endpoints", "/metrics"] {
        assert_eq!(scene.get(nowhere).status, 404, "{nowhere}");
    }
}

#[test]
fn selectors_choose_what_is_listed() {
    let scene = Scene::new();
    scene.server.put_all([service("a", None), service("b", Some("x.io/headless"))]);
    let list = |parameters: &str| scene.get(&format!("{SERVICES}?{parameters}")).json();
    assert_eq!(names(&list("labelSelector=%21x.io%2Fheadless")), ["a"]);
    assert_eq!(names(&list("labelSelector=x.io/headless")), ["b"]);
    assert_eq!(names(&list("fieldSelector=metadata.name%3Db")), ["b"]);
    assert_eq!(names(&list("fieldSelector=spec.clusterIP%21%3DNone")), ["a", "b"]);
    assert_eq!(scene.get(&format!("{SERVICES}?fieldSelector=spec.ports=1")).status, 400);
}

#[test]
fn a_list_comes_in_parts_of_one_moment_until_that_is_forgotten() {
    let scene = Scene::new();
    scene.server.put_all(["a", "b", "c", "d", "e"].map(|name| service(name, None)));
    let first = scene.get(&format!("{SERVICES}?limit=2")).json();
    assert_eq!(names(&first), ["a", "b"]);
    let token = |list: &serde_json::Value| list["metadata"]["continue"].as_str().unwrap().to_owned();
    scene.server.delete(Resource::Services, "default", "c");
    let next = format!("{SERVICES}?limit=2&continue={}", token(&first));
    let second = scene.get(&next).json();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], "5");
    let last = scene.get(&format!("{SERVICES}?limit=2&continue={}", token(&second))).json();
    assert_eq!((names(&last), &last["metadata"]), (vec!["e"], &json!({"resourceVersion": "5"})));
    scene.server.compact();
    let gone = scene.get(&next);
    assert_eq!(gone.status, 410);
    assert_eq!(gone.json()["reason"], "Expired");
    assert_eq!(scene.get(&format!("{SERVICES}?continue=nonsense")).status, 400);
    assert_eq!(scene.get(&format!("{next}&resourceVersion=5")).status, 400);
    assert_eq!(scene.server.count(Verb::List, Resource::Services), 6);
}

#[test]
fn a_list_is_at_least_as_new_as_was_asked_for() {
    let scene = Scene::new();
    scene.server.put(service("a", None));
    for (parameters, status) in [
        ("resourceVersion=0", 200),
        ("resourceVersion=1", 200),
        ("resourceVersion=1&resourceVersionMatch=NotOlderThan", 200),
        ("resourceVersion=1&resourceVersionMatch=Exact", 200),
        ("resourceVersion=2", 504),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersionMatch=NotOlderThan", 422),
        ("resourceVersion=x", 400),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422),
    ] {
        assert_eq!(scene.get(&format!("{SERVICES}?{parameters}")).status, status, "{parameters}");
    }
    scene.server.put(service("a", None));
    let old = format!("{SERVICES}?resourceVersion=1&resourceVersionMatch=Exact");
    assert_eq!(scene.get(&old).status, 200);
    scene.server.compact();
    assert_eq!(scene.get(&old).status, 410);
}

#[test]
fn events_are_written_and_changed() {
    let scene = Scene::new();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "default", "name": "web"},
        "eventTime": "2026-01-02T03:04:05.678901Z",
        "reportingController": "portolan", "reportingInstance": "portolan-node-a",
        "action": "Sync", "reason": "Refused", "type": "Warning",
    });
    let url = "/apis/events.k8s.io/v1/namespaces/default/events";
    let write = |method: &str, url: &str, body: &serde_json::Value| {
        scene.request(method, url, Some("token-of-the-test"), &body.to_string()).unwrap().status
    };
    assert_eq!(write("POST", url, &json!({"metadata": {"name": "x"}})), 422);
    assert_eq!(write("POST", url, &event), 201);
    assert_eq!(write("POST", url, &event), 409);
    assert_eq!(write("PATCH", &format!("{url}/web.1"), &json!({"note": "why"})), 200);
    assert_eq!(write("PATCH", &format!("{url}/web.2"), &json!({"note": "why"})), 404);
    assert_eq!(write("DELETE", &format!("{url}/web.1"), &json!({})), 405);
    let [written] = &scene.server.events()[..] else { panic!("one Event") };
    assert_eq!((&written["note"], &written["reason"]), (&json!("why"), &json!("Refused")));
}

#[test]
#[should_panic(expected = "spec.ipFamilyPolicy: must be 'RequireDualStack' or 'PreferDualStack'")]
fn a_service_that_a_real_server_refuses_is_not_stored() {
    let scene = Scene::new();
    let mut service = service("two", None);
    service["spec"]["clusterIPs"] = json!(["10.96.0.9", "fd00:10:96::9"]);
    for policy in ["RequireDualStack", "PreferDualStack"] {
        service["spec"]["ipFamilyPolicy"] = policy.into();
        scene.server.put(service.clone());
    }
    service["spec"]["ipFamilyPolicy"].take();
    scene.server.put(service);
}
