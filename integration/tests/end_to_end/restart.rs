//! The binary ends or is killed, and starts again: the rules stay, nothing is rewritten, and no connection fails.

use portolan_integration::{Agent, CLUSTER_CIDR, Family, Notifications, Protocol, nft};

use crate::scene::{Scene, assert_refused, assert_served, while_connecting};

const ARGUMENTS: [&str; 2] = ["--cluster-cidr", CLUSTER_CIDR];

fn agent(scene: &Scene) -> Agent {
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &ARGUMENTS);
    agent.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_rules_stay_after_sigterm_and_after_a_crash() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    for end in ["SIGTERM", "SIGKILL"] {
        let agent = agent(&scene);
        if end == "SIGTERM" {
            let status = agent.terminate().unwrap();
            assert_eq!(status.code(), Some(0), "the exit code after SIGTERM");
        } else {
            agent.kill().unwrap();
        }
        for family in Family::BOTH {
            for client in scene.everywhere() {
                let what = format!("{} after {end} over {family}", client.name());
                for target in [
                    scene.lab.cluster_ip(1).port(family, 80),
                    scene.lab.node_a.outside().port(family, 30_080),
                ] {
                    assert_served(&client.tcp(target), &["web-1", "web-2"], &what);
                }
                assert_refused(&client.tcp(scene.lab.cluster_ip(2).port(family, 80)), &what);
            }
        }
    }
}

#[test]
fn a_restart_writes_nothing_when_nothing_changed() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    scene.put_services(&[&one, &two, &three]);
    let first = agent(&scene);
    // A removal moves a slot, so that the kernel's slots differ from those of a fresh compilation.
    scene.put_services(&[&two, &three]);
    let list = || nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap();
    crate::scene::wait_until("the removal is applied", || !list().contains(&one.address().v4.to_string()));
    first.terminate().unwrap();
    let before = list();
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    for end in ["SIGTERM", "SIGKILL"] {
        let again = agent(&scene);
        assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "a restart wrote to the kernel");
        if end == "SIGTERM" {
            again.terminate().unwrap();
        } else {
            again.kill().unwrap();
        }
    }
    let single =
        ["run", "--once", "-f", scene.manifests.path().to_str().unwrap(), "--hostname-override", "node-a"];
    let output = Agent::command(&scene.lab.node_a, &[&single[..], &ARGUMENTS].concat()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "--once wrote to the kernel");
    assert_eq!(list(), before);
}

#[test]
fn what_changed_while_it_was_down_is_all_that_a_start_writes() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one]);
    agent(&scene).terminate().unwrap();
    scene.put_services(&[&two]);
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
    let _agent = agent(&scene);
    for family in Family::BOTH {
        let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(family, 80));
        assert_served(&answer, &["web-2"], "after the start");
    }
    let changes = notifications.changes().unwrap();
    let elements = |line: &&String| line.starts_with("add element") || line.starts_with("delete element");
    assert!(changes.iter().any(|line| elements(&line)), "the endpoint was swapped: {changes:#?}");
    let rest: Vec<_> = changes.iter().filter(|line| !elements(line) && !line.starts_with('#')).collect();
    assert!(rest.is_empty(), "rules are constant; only elements change, but: {rest:#?}");
}

#[test]
fn no_new_connection_fails_during_restarts() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    scene.put_services(&[&one, &two, &three]);
    agent(&scene).terminate().unwrap();
    let clients = [
        (scene.shell.client(), scene.lab.cluster_ip(1).port(Family::V4, 80)),
        (scene.lab.client(), scene.lab.node_a.outside().port(Family::V6, 30_080)),
    ];
    while_connecting(&clients, &[Protocol::Tcp, Protocol::Udp], || {
        for restart in 0..6 {
            let agent = agent(&scene);
            if restart % 2 == 0 {
                agent.terminate().unwrap();
            } else {
                agent.kill().unwrap();
            }
        }
    });
}
