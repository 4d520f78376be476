//! Counts of connections in each command and on the page, and connections that continue.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use portolan_integration::{Family, Pod, Protocol, binary, eventually};
use serde_json::Value;

use crate::{
    running::{PATIENCE, Running, put},
    screen::Screen,
};

/// The number of connections by Pod name and family.
type Made = BTreeMap<(String, Family), u64>;

fn connect(running: &Running, family: Family, count: usize, made: &mut Made) {
    let target = running.scene.lab.cluster_ip(1).port(family, 80);
    for answer in running.scene.shell.client().many(Protocol::Tcp, target, count, 4) {
        *made.entry((answer.server().unwrap().to_owned(), family)).or_default() += 1;
    }
}

/// Waits until every view shows the right counts for the current endpoints.
#[track_caller]
fn expect(running: &Running, screen: &Screen, pods: &[&Pod], made: &Made) {
    let all: u64 = made.values().sum();
    let read = |listed: &str| -> Value {
        let answer = running.run(&["get", listed, "web", "-o", "json"]);
        serde_json::from_str(&answer.stdout).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    };
    let endpoints = || Family::BOTH.into_iter().flat_map(|family| pods.iter().map(move |pod| (family, *pod)));
    let count = |family, pod: &Pod| made.get(&(pod.name().to_owned(), family)).copied().unwrap_or_default();

    let counted = eventually(PATIENCE, || read("services")["items"][0]["connections"] == all);
    assert!(counted.is_some(), "not {all}: {:#}", read("services"));
    let list = read("endpoints");
    let ports = list["items"][0]["ports"].as_array().unwrap();
    let listed: BTreeMap<String, u64> = ports
        .iter()
        .flat_map(|port| port["endpoints"].as_array().unwrap())
        .map(|it| (it["address"].as_str().unwrap().to_owned(), it["connections"].as_u64().unwrap()))
        .collect();
    let expected: BTreeMap<String, u64> = endpoints()
        .map(|(family, pod)| (pod.address().port(family, 8080).to_string(), count(family, pod)))
        .collect();
    assert_eq!(listed, expected, "{list:#}");

    // The page shows counts that are up to ten seconds old.
    let page = || running.agent.get(10249, "/services/default/web").unwrap().body;
    for (address, count) in &expected {
        let has_count = |page: String| {
            let row =
                page.split(&format!("<code>{address}</code></td>")).nth(1)?.split("</tr>").next()?.to_owned();
            row.contains(&format!("<td class=\"number\">{count}</td>")).then_some(())
        };
        assert!(eventually(PATIENCE, || has_count(page()).is_some()).is_some(), "{address}: {}", page());
        screen.wait_for_line(&[address, &count.to_string(), "used"]);
    }
}

#[test]
fn every_view_counts_what_was_made_across_a_change_of_endpoints() {
    let running = Running::new(&["--endpoint-counters"]);
    let [one, two, three] = &running.pods;
    let socket = running.socket().display().to_string();
    let mut screen =
        Screen::start(running.scene.lab.node_a.namespace(), &["top", "default/web", "--socket", &socket]);
    let mut made = Made::new();
    connect(&running, Family::V4, 40, &mut made);
    connect(&running, Family::V6, 30, &mut made);
    expect(&running, &screen, &[one, two], &made);

    put(&running.scene, &[two, three]);
    let is_there =
        || running.run(&["get", "endpoints", "web"]).stdout.contains(&three.address().v4.to_string());
    assert!(eventually(PATIENCE, is_there).is_some());
    connect(&running, Family::V4, 20, &mut made);
    connect(&running, Family::V6, 25, &mut made);
    assert!(made.keys().any(|(pod, _)| pod == three.name()));
    expect(&running, &screen, &[two, three], &made);
    screen.press("\x1b");
    screen.wait_for_line(&["default/web", "4/4", "115", "0", "programmed"]);
}

#[test]
fn a_watch_prints_lines_that_changed_with_connections_a_second_and_what_is_gone() {
    let running = Running::new(&["--endpoint-counters"]);
    let socket = running.socket().display().to_string();
    let mut command = Command::new(binary().unwrap());
    command.args(["get", "endpoints", "--watch", "--socket", &socket]).stdout(Stdio::piped());
    let mut child = running.scene.lab.node_a.namespace().enter(move || command.spawn()).unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let lines = Arc::new(Mutex::new(Vec::<Vec<String>>::new()));
    let read = lines.clone();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            read.lock().unwrap().push(line.split_whitespace().map(str::to_owned).collect());
        }
    });
    let wait = |what: &str, is_meant: &dyn Fn(&[String]) -> bool| {
        let seen = eventually(PATIENCE, || lines.lock().unwrap().iter().any(|line| is_meant(line)));
        assert!(seen.is_some(), "not {what}: {:#?}", lines.lock().unwrap());
    };
    wait("heads", &|line| line.last().is_some_and(|last| last == "PER-SECOND"));
    let [one, two, three] = &running.pods;
    let address = |pod: &Pod, family| pod.address().port(family, 8080).to_string();
    let first = address(one, Family::V4);
    wait("each endpoint", &|line| line.get(2) == Some(&first) && line[line.len() - 2..] == ["0", "-"]);
    let before = lines.lock().unwrap().len();
    let mut made = Made::new();
    connect(&running, Family::V4, 40, &mut made);
    for pod in [one, two] {
        let (at, count) = (address(pod, Family::V4), made[&(pod.name().to_owned(), Family::V4)].to_string());
        wait("the connections", &|line| {
            let rate = line.last().and_then(|rate| rate.parse::<f64>().ok());
            line.get(2) == Some(&at) && line[line.len() - 2] == count && rate.is_some_and(|rate| rate > 0.0)
        });
    }
    let unchanged = address(one, Family::V6);
    assert!(
        lines.lock().unwrap()[before..].iter().all(|line| !line.contains(&unchanged)),
        "it did not change"
    );
    put(&running.scene, &[two, three]);
    let gone = |line: &[String]| line.contains(&first) && line[line.len() - 2..] == ["is", "gone"];
    wait("what is gone", &gone);
    let third = address(three, Family::V4);
    wait("what is new", &|line| line.contains(&third));
    child.kill().unwrap();
    child.wait().unwrap();
}
