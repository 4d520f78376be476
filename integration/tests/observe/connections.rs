//! `--endpoint-counters`: new connections of each Service and endpoint, counted by the kernel.
#![allow(clippy::float_cmp, reason = "these are whole numbers")]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use portolan_integration::{Agent, Client, Dual, Family, Pod, Protocol, Slice, eventually, nft};

use crate::{
    metrics::{check, samples, text},
    scene::{Scene, service, wait_until},
};

/// The kernel's counters are read every ten seconds.
const PATIENCE: Duration = Duration::from_mins(3);
const SERVICE: &str = r#"portolan_service_connections_total{namespace="default",port="http",service="web"}"#;

fn start(scene: &Scene, arguments: &[&str]) -> Agent {
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), arguments);
    agent.unwrap_or_else(|error| panic!("{error}"))
}

/// Writes a NodePort Service `web` with these endpoints.
fn put(scene: &Scene, pods: &[&Pod]) -> Dual {
    let address = scene.lab.cluster_ip(1);
    let web = service("web", address).of_type("NodePort").port("http", Protocol::Tcp, 80).node_port(30_080);
    scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), pods));
    address
}

/// Opens connections and adds the number that each pod answered to `into`.
fn connect(client: &Client, target: SocketAddr, count: usize, into: &mut BTreeMap<(String, Family), f64>) {
    let family = if target.is_ipv4() { Family::V4 } else { Family::V6 };
    for answer in client.many(Protocol::Tcp, target, count, 4) {
        let server = answer.server().unwrap_or_else(|| panic!("{}: {answer}", client.name()));
        *into.entry((server.to_owned(), family)).or_default() += 1.0;
    }
}

fn series(pod: &Pod, family: Family) -> String {
    let endpoint = pod.address().port(family, 8080);
    format!(
        "portolan_endpoint_connections_total{{endpoint=\"{endpoint}\",namespace=\"default\",port=\"http\",service=\"web\"}}"
    )
}

/// Waits until the metrics show the pods' counts, and their total for the Service.
#[track_caller]
fn expect(agent: &Agent, pods: &[&Pod], answered: &BTreeMap<(String, Family), f64>) {
    let total: f64 = answered.values().sum();
    let mut last = String::new();
    let equal = eventually(PATIENCE, || {
        last = text(agent);
        let samples = samples(&last);
        samples.get(SERVICE) == Some(&total)
            && answered.iter().all(|((name, family), count)| {
                let pod = pods.iter().find(|pod| pod.name() == name).unwrap();
                samples.get(&series(pod, *family)) == Some(count)
            })
    });
    assert!(equal.is_some(), "not {total} connections, {answered:?}, but:\n{last}");
    check(&last);
}

#[test]
fn connections_are_counted_for_the_service_and_each_endpoint() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    let address = put(&scene, &[&one, &two, &three]);
    let pods = [&one, &two, &three];
    let agent = start(&scene, &["--endpoint-counters"]);
    let (shell, outside) = (scene.shell.client(), scene.lab.client());
    let node_port = |family| scene.lab.node_a.outside().port(family, 30_080);
    let mut answered = BTreeMap::new();
    for family in Family::BOTH {
        connect(&shell, address.port(family, 80), 60, &mut answered);
        connect(&outside, node_port(family), 40, &mut answered);
    }
    assert_eq!(answered.len(), 6, "every pod answers in both families");
    expect(&agent, &pods, &answered);

    // The first endpoint goes: another takes its slot, whose counter starts from zero, and no count is lost.
    put(&scene, &[&two, &three]);
    let elements = || {
        let map = nft(scene.lab.node_a.namespace(), &["list", "map", "ip", "portolan", "endpoints"], "");
        map.unwrap().matches(" . 8080").count()
    };
    wait_until("an endpoint is gone", || elements() == 2);
    let before = answered[&("web-1".to_owned(), Family::V4)];
    for family in Family::BOTH {
        connect(&shell, address.port(family, 80), 30, &mut answered);
        connect(&outside, node_port(family), 20, &mut answered);
    }
    assert_eq!(answered[&("web-1".to_owned(), Family::V4)], before);
    expect(&agent, &pods, &answered);

    // A packet of an existing connection is not a new connection.
    let mut open = shell.open(address.port(Family::V4, 80)).unwrap();
    *answered.entry((open.answer().server().unwrap().to_owned(), Family::V4)).or_default() += 1.0;
    for _ in 0..10 {
        open.exchange("more of the same").unwrap();
    }
    expect(&agent, &pods, &answered);

    // Another run counts from its start; the rules and their counters stay.
    agent.kill().unwrap();
    let agent = start(&scene, &["--endpoint-counters"]);
    let mut answered = BTreeMap::new();
    connect(&shell, address.port(Family::V4, 80), 25, &mut answered);
    expect(&agent, &pods, &answered);
}

#[test]
fn counting_is_switched_on_and_off_by_a_restart() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let address = put(&scene, &[&one, &two]);
    let listing = || nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap();
    let names = ["portolan_service_connections_total", "portolan_endpoint_counters_readable"];

    let agent = start(&scene, &[]);
    let plain = listing();
    assert!(!plain.contains("counter") && names.iter().all(|name| !text(&agent).contains(name)));
    agent.kill().unwrap();

    let agent = start(&scene, &["--endpoint-counters"]);
    assert_eq!(listing().matches("\t\tcounter\n").count(), 8, "four maps in each family");
    let mut answered = BTreeMap::new();
    connect(&scene.shell.client(), address.port(Family::V6, 80), 20, &mut answered);
    expect(&agent, &[&one, &two], &answered);
    assert_eq!(samples(&text(&agent))["portolan_endpoint_counters_readable"], 1.0);
    agent.kill().unwrap();

    let agent = start(&scene, &["--endpoint-counters=false"]);
    let mut answered = BTreeMap::new();
    connect(&scene.shell.client(), address.port(Family::V4, 80), 5, &mut answered);
    let sorted = |text: &str| {
        let bare = |line: &str| {
            let line = line.trim().trim_start_matches("elements = { ");
            line.trim_end_matches(" }").trim_end_matches(',').to_owned()
        };
        let mut lines: Vec<_> = text.lines().map(bare).collect();
        lines.sort();
        lines
    };
    // The former plane is removed a little later.
    let is_plain = || sorted(&listing()) == sorted(&plain);
    assert!(
        eventually(Duration::from_mins(1), is_plain).is_some(),
        "counting left something behind: {}",
        listing()
    );
    assert!(names.iter().all(|name| !text(&agent).contains(name)));
}
