//! Faults of lists in pages, from a server without a watch cache.

use portolan_integration::{EventFaults, Fault, Request, Resource, Rule, Verb, numbered};
use serde_json::Value;

use crate::scene::{Scene, wait_until, while_connecting};

/// Services that fill three pages.
fn services() -> Vec<Value> {
    (0..1_200).flat_map(|number| numbered(number, 0..2)).collect()
}

/// A scene with these Services, on a server that lists in pages.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.server.put_all(services());
    scene.server.disable_watch_cache();
    scene
}

/// Makes `begin` start a list of Services whose token expires before the second page is answered. Meanwhile some of the
/// objects of the first page are deleted and some changed.
fn expire_while_listing<T>(scene: &mut Scene, begin: impl FnOnce(&mut Scene) -> T) -> T {
    scene.server.inject(Rule::always(Fault::Hold).of(Resource::Services).on_further_pages());
    let before = scene.server.requests().len();
    let result = begin(scene);
    let continues = || -> Vec<bool> {
        let requests = scene.server.requests().split_off(before);
        let is_page = |r: &&Request| (r.verb, r.resource) == (Verb::List, Some(Resource::Services));
        requests.iter().filter(is_page).map(|request| request.query.contains_key("continue")).collect()
    };
    wait_until("the second page is asked for", || continues() == [false, true]);
    scene.server.delete_all(&services()[..600]);
    scene.server.put_all((300..500).flat_map(|number| numbered(number, 1..4)));
    scene.server.compact();
    scene.server.clear_rules();
    scene.wait_until_equal("the list was begun anew");
    assert_eq!(continues(), [false, true, false, true], "from its first page");
    result
}

#[test]
fn a_first_list_whose_token_expires_is_begun_anew() {
    let mut scene = scene();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    let agent = expire_while_listing(&mut scene, |scene| scene.spawn_with(&[]));
    wait_until("it is ready", || agent.readyz() == Some(200));
    scene.wait_until_served(&["web-1"], "the list was begun anew");
}

/// Half of a list changes nothing: Service `web`, on a page that never comes, is served all the time.
#[test]
fn a_later_list_whose_token_expires_is_begun_anew() {
    let mut scene = scene();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    let _agent = scene.run();
    scene.wait_until_equal("at first");
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        expire_while_listing(&mut scene, |scene| {
            // Events out of order invalidate the known history of the server, so that the newest state is listed.
            scene.server.distort_events(EventFaults { swap: true, ..EventFaults::default() });
            let before = scene.server.count(Verb::List, Resource::Services);
            scene.server.put_all((1_300..1_302).flat_map(|number| numbered(number, 0..1)));
            wait_until("Services are listed", || scene.server.count(Verb::List, Resource::Services) > before);
            scene.server.distort_events(EventFaults::default());
        });
    });
}
