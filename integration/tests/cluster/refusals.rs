//! The API server refuses: too many requests, errors, wrong credentials.

use std::{
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{Agent, ApiServer, Fault, Resource, Rule, Wrong, nft};

use crate::scene::{ARGUMENTS, Scene, wait_until};

#[test]
fn refused_requests_are_tried_again_more_and_more_slowly() {
    for code in [429, 500, 503] {
        let scene = Scene::new();
        let [one, _] = scene.web_pods();
        scene.put_web(&[&one]);
        scene.server.inject(Rule::always(Fault::Refuse(code, None)));
        let agent = scene.spawn_with(&[]);
        wait_until("it asks again", || asked(&scene.server).len() >= 2);
        wait_until("the agent reports the code", || agent.stderr().contains(&code.to_string()));
        thread::sleep(Duration::from_secs(5));
        let asked = asked(&scene.server);
        let early = asked.iter().filter(|at| **at - asked[0] < Duration::from_secs(5)).count();
        assert!((1..=12).contains(&early), "{code}: asked for Services {early} times in 5 s");
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
    scene.wait_until_served(&["web-1"], "after that");
    let asked = asked(&scene.server);
    let after = asked[1] - asked[0];
    assert!(after >= Duration::from_secs(6), "after {after:?}, earlier than Retry-After allows");
}

/// Returns the times of the requests for Services.
fn asked(server: &ApiServer) -> Vec<Instant> {
    let requests = server.requests();
    requests.iter().filter(|request| request.resource == Some(Resource::Services)).map(|it| it.at).collect()
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
        wait_until("the agent reports the reason", || {
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

/// With and without a final newline: the kubelet writes none, people do.
#[test]
fn a_token_that_is_replaced_is_used_at_once() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    let _agent = scene.run();
    for (token, file, pod) in
        [("second", "second", &pods[1]), ("third", "third\n", &pods[0]), ("fourth", "\tfourth\r\n", &pods[1])]
    {
        scene.server.renew_client_token(file).unwrap();
        scene.server.set_token(token);
        scene.server.drop_connections().unwrap();
        scene.put_web(&[pod]);
        scene.wait_until_served(&[pod.name()], token);
    }
}

#[test]
fn a_client_certificate_that_is_replaced_is_used_at_once() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    let kubeconfig = scene.server.demand_client_certificate().unwrap();
    let agent = Agent::start_in_cluster(&scene.lab.node_a, &kubeconfig, &ARGUMENTS);
    let _agent = agent.unwrap_or_else(|error| panic!("{error}"));
    scene.wait_until_served(&["web-1"], "with the first certificate");
    // Signed by another authority: the first certificate would be refused.
    scene.server.demand_client_certificate().unwrap();
    scene.put_web(&[&pods[1]]);
    scene.wait_until_served(&["web-2"], "with the second certificate");
}
