//! From the API server to the kernel, without faults.

use std::{thread, time::Duration};

use portolan_integration::{Fault, Notifications, Resource, Rule, Verb, nft, numbered};

use crate::scene::{Scene, wait_until};

#[test]
fn nothing_is_written_before_services_and_slices_are_known() {
    for late in [Resource::Services, Resource::EndpointSlices] {
        let mut scene = Scene::new();
        let [one, _] = scene.web_pods();
        scene.put_web(&[&one]);
        scene.server.inject(Rule::always(Fault::Hang).of(late));
        let agent = scene.spawn_with(&[]);
        let other = match late {
            Resource::Services => Resource::EndpointSlices,
            _ => Resource::Services,
        };
        let asked = |resource| {
            let requests = scene.server.requests();
            requests.iter().any(|request| request.resource == Some(resource))
        };
        wait_until("both are asked for", || asked(late) && asked(other));
        // Long enough to see a wrong commit on a slow machine.
        thread::sleep(Duration::from_secs(2));
        let tables = nft(scene.lab.node_a.namespace(), &["list", "tables"], "").unwrap();
        assert_eq!(tables, "", "{late:?} are not known yet");
        assert_ne!(agent.readyz(), Some(200), "{late:?} are not known yet");
        scene.server.clear_rules();
        scene.server.drop_connections().unwrap();
        scene.wait_until_served(&["web-1"], "both are known");
        scene.wait_until_equal("both are known");
    }
}

#[test]
fn a_restart_keeps_what_there_is_until_all_is_known_and_then_writes_nothing() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    scene.run().terminate().unwrap();
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    scene.server.inject(Rule::always(Fault::Hang).of(Resource::EndpointSlices));
    let agent = scene.spawn_with(&[]);
    thread::sleep(Duration::from_secs(2));
    scene.wait_until_served(&["web-1", "web-2"], "slices are not known yet");
    scene.server.clear_rules();
    scene.server.drop_connections().unwrap();
    wait_until("it is ready", || agent.readyz() == Some(200));
    assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "the state is the same");
}

#[test]
fn long_lists_are_complete_whether_in_one_piece_or_in_parts() {
    for in_parts in [false, true] {
        let scene = Scene::new();
        if in_parts {
            scene.server.disable_watch_cache();
        }
        scene.server.put_all((0..1_200).flat_map(|number| numbered(number, 0..2)));
        let _agent = scene.run();
        scene.wait_until_equal(if in_parts { "in parts" } else { "in one piece" });
        if in_parts {
            let requests = scene.server.requests();
            let parts = requests.iter().filter(|request| {
                request.verb == Verb::List
                    && request.resource == Some(Resource::Services)
                    && request.query.contains_key("limit")
            });
            assert!(parts.count() >= 3, "1,200 Services are not asked for at once");
        }
        scene.server.put_all((0..10).flat_map(|number| numbered(number, 1..4)));
        scene.wait_until_equal("after changes");
    }
}

#[test]
fn only_what_a_proxy_needs_is_asked_for() {
    let scene = Scene::new();
    let _agent = scene.run();
    let requests = scene.server.requests();
    for (resource, wanted) in [
        (Resource::Services, "!service.kubernetes.io/service-proxy-name"),
        (Resource::EndpointSlices, "!service.kubernetes.io/headless"),
    ] {
        let mut of = requests.iter().filter(|request| request.resource == Some(resource)).peekable();
        assert!(of.peek().is_some(), "{resource:?} are asked for");
        for request in of {
            let labels = request.query.get("labelSelector").map_or("", String::as_str);
            assert!(labels.split(',').any(|label| label == wanted), "{resource:?}: {labels}");
        }
    }
    let mut nodes = requests.iter().filter(|request| request.resource == Some(Resource::Nodes));
    assert!(nodes.all(|request| {
        request.verb == Verb::Get
            || request.query.get("fieldSelector").is_some_and(|field| field == "metadata.name=node-a")
    }));
}
