//! Session affinity through changes: behaviour.md §5, §14 invariants 7 and 8. An endpoint that stays keeps its
//! clients, an endpoint that goes loses them at once.

use std::{thread, time::Duration};

use portolan_integration::{Agent, CLUSTER_CIDR, Client, Family, Pod};

use crate::{
    affinity::{MANY, clients, each, sticky},
    frontends::{exposed, put, ready, targets},
    scene::{Scene, wait_until},
};

const ARGUMENTS: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];

fn agent(scene: &Scene) -> Agent {
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS);
    agent.unwrap_or_else(|error| panic!("{error}"))
}

/// Many clients of each family, and the endpoint of each.
struct Clients(Vec<(Family, Vec<Client>, Vec<String>)>);

impl Clients {
    fn new(scene: &Scene) -> Self {
        let family = |family| {
            let clients = clients(scene, MANY, family);
            let [(_, target), ..] = targets(scene, 1, family);
            let endpoints = each(&clients, target);
            (family, clients, endpoints)
        };
        Self(Family::BOTH.map(family).into())
    }

    /// Asserts that every client keeps its endpoint if it is still present, and that each of the others gets one of the
    /// present endpoints and keeps it.
    fn assert_kept(&mut self, scene: &Scene, present: &[&str], what: &str) {
        for (family, clients, endpoints) in &mut self.0 {
            let [(_, target), (_, node_port), ..] = targets(scene, 1, *family);
            let now = each(clients, target);
            for (before, after) in endpoints.iter().zip(&now) {
                let had_to_go = !present.contains(&before.as_str());
                assert!(before == after || had_to_go, "{what}, {family}: {before} became {after}");
                assert!(present.contains(&after.as_str()), "{what}, {family}: led to {after}, which is gone");
            }
            assert_eq!(each(clients, node_port), now, "{what}, {family}: at the node port");
            assert_eq!(each(clients, target), now, "{what}, {family}: again");
            *endpoints = now;
        }
    }
}

/// Waits until node-a's map has these endpoints and no other pods.
fn wait_for_endpoints(scene: &Scene, present: &[&Pod]) {
    let namespace = scene.lab.node_a.namespace();
    wait_until("the change is applied", || {
        let listing =
            portolan_integration::nft(namespace, &["list", "map", "ip6", "portolan", "endpoints"], "");
        let listing = listing.unwrap_or_default();
        let holds = |pod: &Pod| listing.contains(&pod.address().v6.to_string());
        present.iter().all(|pod| holds(pod))
            && others(present).iter().all(|address| !listing.contains(address))
    });
}

/// Returns the addresses that other pods might have.
fn others(present: &[&Pod]) -> Vec<String> {
    let candidates = (1..=2).flat_map(|node| (2..8).map(move |host| format!("fd00:10:128:{node}::{host:x}")));
    candidates.filter(|address| present.iter().all(|pod| pod.address().v6.to_string() != *address)).collect()
}

/// Other endpoints come and go, in any order; then a client's own endpoint goes.
#[test]
fn an_endpoint_that_stays_keeps_its_clients_and_one_that_goes_loses_them() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let four = crate::frontends::pod(&scene.lab.node_a, "web-4");
    let service = sticky(&exposed(&scene, 1), 3600);
    put(&scene, 1, &service, &ready(&[&one, &two, &three]));
    scene.run();
    let mut clients = Clients::new(&scene);
    let steps: [(&str, &[&Pod]); 7] = [
        ("another came", &[&one, &two, &three, &four]),
        ("the first went", &[&two, &three, &four]),
        ("it came back", &[&four, &three, &two, &one]),
        ("two went", &[&three, &one]),
        ("one was replaced", &[&four, &three]),
        ("only one is left", &[&three]),
        ("all came back", &[&one, &two, &three, &four]),
    ];
    for (what, pods) in steps {
        put(&scene, 1, &service, &ready(pods));
        wait_for_endpoints(&scene, pods);
        let names: Vec<_> = pods.iter().map(|pod| pod.name()).collect();
        clients.assert_kept(&scene, &names, what);
    }
}

/// "If it returns it starts empty": clients that were moved stay where they are.
#[test]
fn an_endpoint_that_returns_has_none_of_its_former_clients() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let service = sticky(&exposed(&scene, 1), 3600);
    put(&scene, 1, &service, &ready(&[&one]));
    scene.run();
    let mut clients = Clients::new(&scene);
    for pods in [&[&two, &three][..], &[&one, &two, &three]] {
        put(&scene, 1, &service, &ready(pods));
        wait_for_endpoints(&scene, pods);
        // In the first round no client has one of the present endpoints; in the second all keep theirs.
        let names: Vec<_> = pods.iter().map(|pod| pod.name()).collect();
        clients.assert_kept(&scene, &names, "after the endpoint went");
    }
    let used = clients.0.iter().flat_map(|(_, _, endpoints)| endpoints).any(|endpoint| endpoint == "web-1");
    assert!(!used, "a former client came back");
}

/// Through SIGTERM and SIGKILL, even if endpoints change while no agent runs.
#[test]
fn clients_are_kept_through_restarts_of_the_agent() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let four = crate::frontends::pod(&scene.lab.node_b, "web-4");
    let service = sticky(&exposed(&scene, 1), 3600);
    put(&scene, 1, &service, &ready(&[&one, &two, &three]));
    let mut running = agent(&scene);
    let mut clients = Clients::new(&scene);
    let steps: [(&str, &[&Pod]); 4] = [
        ("nothing changed", &[&one, &two, &three]),
        ("another came", &[&four, &one, &two, &three]),
        ("the first went", &[&four, &two, &three]),
        ("all but one went and one came", &[&one, &four]),
    ];
    for end in ["SIGTERM", "SIGKILL"] {
        for (step, pods) in steps {
            let what = format!("{end}, {step}");
            if end == "SIGTERM" {
                running.terminate().unwrap();
            } else {
                running.kill().unwrap();
            }
            put(&scene, 1, &service, &ready(pods));
            running = agent(&scene);
            let names: Vec<_> = pods.iter().map(|pod| pod.name()).collect();
            clients.assert_kept(&scene, &names, &what);
        }
    }
}

/// "A changed affinity timeout applies" (§15, 7), shorter and longer.
#[test]
fn a_changed_timeout_applies() {
    let mut scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let endpoints = ready(&[&one, &two, &three]);
    let service = exposed(&scene, 1);
    put(&scene, 1, &sticky(&service, 3600), &endpoints);
    scene.run();
    let targets = Family::BOTH.map(|family| targets(&scene, 1, family)[0].1);
    let clients = Family::BOTH.map(|family| clients(&scene, MANY, family));
    let ask = || [each(&clients[0], targets[0]), each(&clients[1], targets[1])];
    let before = ask();
    put(&scene, 1, &sticky(&service, 1), &endpoints);
    wait_until("the shorter timeout applies", || {
        thread::sleep(Duration::from_millis(1300));
        let now = ask();
        now[0] != before[0] && now[1] != before[1]
    });
    put(&scene, 1, &sticky(&service, 3600), &endpoints);
    wait_until("the longer timeout applies", || {
        let now = ask();
        thread::sleep(Duration::from_millis(1300));
        ask() == now
    });
    let before = ask();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(ask(), before, "after the timeout became longer");
}
