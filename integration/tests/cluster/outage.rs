//! The API server goes away, and comes back with other objects.

use std::{
    thread,
    time::{Duration, Instant},
};

use portolan_integration::{
    Agent, ApiServer, Backup, Fault, Node, Pod, Request, Resource, Rule, Verb, numbered,
};
use serde_json::Value;

use crate::scene::{Scene, wait_until, while_connecting};

/// How long the server is gone. A longer outage would only add attempts.
const OUTAGE: Duration = Duration::from_secs(8);

/// A time limit that leaves no room for a back-off, unless the machine is slow.
const PROMPT: Duration = Duration::from_secs(2);

/// 1,200 Services, of which 500 are then changed and 500 deleted.
fn services() -> Vec<Value> {
    (0..1_200).flat_map(|number| numbered(number, 0..2)).collect()
}

fn change_and_delete(scene: &Scene) {
    scene.server.put_all((0..500).flat_map(|number| numbered(number, 1..4)));
    scene.server.delete_all(&services()[1_000..2_000]);
}

/// Stops the server, changes half of the objects, and starts the server again.
fn outage(compacted: bool) {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    scene.server.put_all(services());
    let _agent = scene.run();
    scene.wait_until_equal("before the outage");
    let mut open = scene.shell.client().open(scene.web()).unwrap();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        scene.server.stop();
        thread::sleep(OUTAGE);
        change_and_delete(&scene);
        if compacted {
            scene.server.compact();
        }
        scene.server.resume().unwrap();
        scene.wait_until_equal("after the outage");
    });
    open.exchange("the connection from before").unwrap();
    scene.wait_until_served(&["web-1", "web-2"], "after the outage");
}

#[test]
fn what_changed_during_an_outage_is_made_up_for() {
    outage(false);
}

#[test]
fn what_was_deleted_and_forgotten_during_an_outage_goes_too() {
    outage(true);
}

/// After a long outage the back-off is long, too. It ends when the server answers, even if the answer is only that the
/// server has forgotten the version.
#[test]
fn once_the_server_answers_no_request_waits_any_longer() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    let agent = scene.run();
    scene.wait_until_equal("before the outage");
    // On a slow machine it may take another try.
    let prompt = (0..4).any(|_| {
        // Long enough for the watches to count as healthy.
        thread::sleep(Duration::from_secs(12));
        scene.server.stop();
        // The back-off that now begins is 6 to 25 seconds.
        thread::sleep(Duration::from_secs(25));
        scene.server.put_all(scene.lab.nodes().map(Node::object));
        scene.server.compact();
        let before = scene.server.requests().len();
        scene.server.resume().unwrap();
        let kinds = [Resource::Services, Resource::EndpointSlices, Resource::Nodes, Resource::ServiceCidrs];
        let mut times = Vec::new();
        wait_until("everything is listed", || {
            let requests = scene.server.requests().split_off(before);
            let list = |kind| {
                let mut lists = requests.iter().filter(|it| it.verb == Verb::List && !is_exact(it));
                lists.find(|it| it.resource == Some(kind)).map(|it| it.at)
            };
            times = kinds.into_iter().filter_map(list).chain(requests.first().map(|it| it.at)).collect();
            times.len() == kinds.len() + 1
        });
        times.iter().max().zip(times.iter().min()).is_some_and(|(last, first)| *last - *first < PROMPT)
    });
    assert!(prompt, "not everything is listed within {PROMPT:?} of the server's first answer");
    scene.server.put_all(services());
    scene.wait_until_equal("after the outages");
    let log = agent.stderr();
    assert!(!log.contains("answered 410"), "that a version is forgotten is nothing to worry about: {log}");
}

/// An API server that has just started refuses every request until it has loaded its own access rules.
#[test]
fn the_first_change_after_a_restart_is_not_waited_for() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    let agent = scene.run();
    scene.wait_until_served(&["web-1"], "at first");
    let mut waits = Vec::new();
    // On a slow machine it may take another try.
    let prompt = (0..4).any(|round| {
        // Long enough for the watches to count as healthy.
        thread::sleep(Duration::from_secs(12));
        scene.server.stop();
        thread::sleep(Duration::from_secs(10));
        scene.server.inject(Rule::always(Fault::Refuse(403, None)));
        scene.server.resume().unwrap();
        thread::sleep(Duration::from_secs(1));
        let pod = &pods[(round + 1) % 2];
        scene.put_web(&[pod]);
        let began = Instant::now();
        scene.server.clear_rules();
        let client = scene.shell.client().within(Duration::from_millis(500));
        wait_until("the change is in the kernel", || client.tcp(scene.web()).server() == Some(pod.name()));
        waits.push(began.elapsed());
        began.elapsed() <= PROMPT
    });
    assert!(prompt, "{waits:?}: {}", agent.stderr());
}

/// The answer of a load balancer while the control plane is away says nothing about versions: no new list is needed.
#[test]
fn what_a_gateway_answers_costs_no_list() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    let agent = scene.run();
    scene.wait_until_equal("at first");
    thread::sleep(Duration::from_secs(12));
    scene.server.inject(Rule::always(Fault::Gateway(504)));
    let before = scene.server.requests().len();
    scene.server.drop_connections().unwrap();
    thread::sleep(Duration::from_secs(5));
    let asked = scene.server.requests().len() - before;
    assert!((4..=24).contains(&asked), "four kinds asked {asked} times within 5 s");
    scene.put_web(&[&two]);
    scene.server.clear_rules();
    scene.wait_until_served(&["web-2"], "after that");
    let later = scene.server.requests().split_off(before);
    assert!(later.iter().all(|it| it.verb == Verb::Watch || is_exact(it)), "{later:#?}\n{}", agent.stderr());
}

/// Whether the request is for one object, to verify a position.
fn is_exact(request: &Request) -> bool {
    request.query.get("resourceVersionMatch").is_some_and(|matching| matching == "Exact")
}

/// A scene that is in sync, with one Pod behind the Service, and a backup of its objects.
fn backed_up() -> (Scene, [Pod; 2], Agent, Backup) {
    let scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.put_all(services());
    let agent = scene.run();
    scene.wait_until_equal("at first");
    let backup = scene.server.backup();
    (scene, [one, two], agent, backup)
}

/// Waits until the node serves the restored objects, for at most three minutes.
fn wait_until_restored(scene: &Scene, agent: &Agent, restored: Instant) {
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || scene.wait_until_equal("after the backup was restored"));
    let log = agent.stderr();
    assert!(restored.elapsed() < Duration::from_mins(3), "{:?}: {log}", restored.elapsed());
    scene.wait_until_served(&["web-1"], "as in the backup");
}

/// The whole control plane is restored from a backup: everything newer is lost.
#[test]
fn a_backup_that_is_restored_is_arrived_at_within_three_minutes() {
    let (mut scene, [one, two], agent, backup) = backed_up();
    change_and_delete(&scene);
    scene.put_web(&[&two]);
    scene.wait_until_equal("after the backup");
    scene.server.stop();
    thread::sleep(Duration::from_secs(3));
    scene.server.restore(&backup).unwrap();
    let restored = Instant::now();
    wait_until_restored(&scene, &agent, restored);
    // Later changes arrive as well, with versions that other objects had before.
    scene.put_web(&[&one, &two]);
    scene.wait_until_served(&["web-1", "web-2"], "after that");
}

/// Writes follow so quickly that the server passes every known version before the agent asks it.
#[test]
fn a_backup_that_is_written_to_quickly_is_arrived_at_within_three_minutes() {
    let (mut scene, [_one, two], agent, backup) = backed_up();
    scene.server.put_all((0..200).flat_map(|number| numbered(number, 1..4)).take(198));
    scene.put_web(&[&two]);
    scene.wait_until_equal("after the backup");
    scene.server.stop();
    // Long enough for the agent to ask again only after some seconds.
    thread::sleep(Duration::from_secs(20));
    let write = |server: &ApiServer, range: std::ops::Range<u32>| {
        server.put_all(range.flat_map(|number| numbered(number, 5..6)));
    };
    scene.server.restore_and(&backup, |server| write(server, 500..600)).unwrap();
    let restored = Instant::now();
    for batch in 0..20 {
        write(&scene.server, 600 + batch * 10..610 + batch * 10);
        thread::sleep(Duration::from_millis(100));
    }
    wait_until_restored(&scene, &agent, restored);
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_waited_for() {
    let mut scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.stop();
    let agent = scene.spawn_with(&[]);
    wait_until("the agent reports the failure", || {
        let log = agent.stderr();
        log.contains("192.0.2.1:6443") || log.contains("refused")
    });
    thread::sleep(Duration::from_secs(2));
    assert_ne!(agent.readyz(), Some(200));
    scene.server.resume().unwrap();
    scene.wait_until_served(&["web-1"], "the server is there");
    let log = agent.stderr();
    assert!(log.lines().count() < 30, "the same message is logged too often: {log}");
}

#[test]
fn connections_that_break_again_and_again_lose_nothing() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one, &two]);
    let _agent = scene.run();
    let (client, target) = (scene.shell.client(), scene.web());
    while_connecting(&client, target, || {
        for round in 0..8_u32 {
            let (first, last) = (round * 20, round * 20 + 40);
            scene.server.put_all((first..last).flat_map(|number| numbered(number, [round as u8])));
            thread::sleep(Duration::from_millis(100 + 150 * u64::from(round % 3)));
            scene.server.drop_connections().unwrap();
            scene.server.delete_all(&numbered(first, []));
        }
        scene.wait_until_equal("after all that");
    });
}

/// A load balancer may close idle connections: that is not a failure of the server, however often it happens.
#[test]
fn connections_that_end_for_being_idle_are_made_anew_without_ado() {
    let mut scene = Scene::new();
    let [one, two] = scene.web_pods();
    scene.put_web(&[&one]);
    let agent = scene.run();
    let waits: Vec<Duration> = (0..6)
        .map(|_| {
            thread::sleep(Duration::from_secs(12));
            let (before, ended) = (scene.server.requests().len(), Instant::now());
            scene.server.drop_connections().unwrap();
            let mut again = None;
            wait_until("it watches again", || {
                let requests = scene.server.requests().split_off(before);
                let mut of_slices =
                    requests.iter().filter(|it| it.resource == Some(Resource::EndpointSlices));
                again = of_slices.next().map(|it| it.at);
                again.is_some()
            });
            again.map_or(Duration::MAX, |again| again.saturating_duration_since(ended))
        })
        .collect();
    // If the back-off grew, these waits would be at least 3 seconds.
    assert!(waits[3..].iter().any(|wait| *wait < PROMPT), "{waits:?}: {}", agent.stderr());
    scene.put_web(&[&two]);
    scene.wait_until_served(&["web-2"], "after all that");
    assert!(!agent.stderr().contains("cannot be"), "that is nothing to worry about: {}", agent.stderr());
}

#[test]
fn slow_answers_are_waited_for() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    scene.server.inject(Rule::always(Fault::Delay(Duration::from_millis(700))));
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "after slow answers");
    scene.wait_until_equal("after slow answers");
}
