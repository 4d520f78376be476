//! The API server refuses: too many requests, errors, wrong credentials.

use std::{thread, time::Duration};

use portolan_integration::{Agent, ApiServer, Fault, Resource, Rule, Verb, Wrong, nft};

use crate::scene::{ARGUMENTS, Scene, wait_until};

#[test]
fn refused_requests_are_tried_again_more_and_more_slowly() {
    for code in [429, 500, 503] {
        let scene = Scene::new();
        let [one, _] = scene.web_pods();
        scene.put_web(&[&one]);
        scene.server.inject(Rule::always(Fault::Refuse(code, None)));
        let agent = scene.spawn_with(&[]);
        thread::sleep(Duration::from_secs(5));
        let asked = ask_count(&scene.server);
        assert!((2..=12).contains(&asked), "{code}: asked for Services {asked} times in 5 s");
        let log = agent.stderr();
        assert!(log.contains(&code.to_string()), "{code}: it says so: {log}");
        assert!(nft(scene.lab.node_a.namespace(), &["list", "tables"], "").unwrap().is_empty());
        scene.server.clear_rules();
        scene.wait_until_served(&["web-1"], "requests are answered again");
        scene.wait_until_equal("requests are answered again");
    }
}

#[test]
fn retry_after_is_honoured() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.inject(Rule::always(Fault::Refuse(429, Some(6))).of(Resource::Services).times(1));
    let _agent = scene.spawn_with(&[]);
    wait_until("Services are asked for", || ask_count(&scene.server) > 0);
    thread::sleep(Duration::from_secs(4));
    assert_eq!(ask_count(&scene.server), 1, "not before the server wants it");
    scene.wait_until_served(&["web-1"], "after that");
}

/// Requests for Services of any kind.
fn ask_count(server: &ApiServer) -> usize {
    [Verb::List, Verb::Watch].map(|verb| server.count(verb, Resource::Services)).iter().sum()
}

#[test]
fn wrong_credentials_are_named_and_cost_nothing_that_is_programmed() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.run().terminate().unwrap();
    for (wrong, words) in [(Wrong::Token, ["401", "Unauthorized"]), (Wrong::Authority, ["certificate"; 2])] {
        let kubeconfig = scene.server.wrong_kubeconfig(wrong).unwrap();
        let mut agent = Agent::spawn_in_cluster(&scene.lab.node_a, &kubeconfig, &ARGUMENTS).unwrap();
        wait_until("it says what is wrong", || {
            let log = agent.stderr();
            words.iter().any(|word| log.contains(word))
        });
        thread::sleep(Duration::from_secs(2));
        assert!(agent.ended().is_none(), "{wrong:?}: it keeps trying: {}", agent.stderr());
        assert_ne!(agent.readyz(), Some(200));
        scene.wait_until_served(&["web-1"], "the rules stay");
        assert!(scene.difference().is_none(), "the rules stay");
    }
}

#[test]
fn a_token_that_expires_is_read_anew() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    let _agent = scene.run();
    scene.server.renew_client_token("another").unwrap();
    scene.server.set_token("another");
    scene.server.drop_connections().unwrap();
    scene.put_web(&[&two]);
    // A token file is read again after a minute at the latest.
    let served = portolan_integration::eventually(Duration::from_mins(2), || {
        scene.shell.client().tcp(scene.web()).server() == Some("web-2")
    });
    assert!(served.is_some(), "the new token is used");
}
