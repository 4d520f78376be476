//! Faults around the reconciler.

use std::fs;

use portolan_integration::{Agent, CLUSTER_CIDR, eventually};

use crate::scene::{PATIENCE, Scene, wait_for_line};

/// Limits the file descriptors of a running agent.
fn limit(agent: &Agent, descriptors: usize) {
    let pid = agent.pid().to_string();
    let limit = format!("--nofile={descriptors}:");
    let status = std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(status.success());
}

fn open_descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

#[test]
fn repairs_need_no_file_descriptors() {
    let scene = Scene::new();
    let agent = scene.run();
    limit(&agent, 3);
    scene.expect_restored("flush ruleset");
    scene.expect_restored("delete element ip portolan frontends { 10.96.0.1 . tcp . 80 }");
    limit(&agent, 1024);
    let service = crate::scene::service("new", scene.lab.cluster_ip(7));
    scene.put("new", &service, &[&scene.pods[0]]);
    let target = scene.lab.cluster_ip(7).port(portolan_integration::Family::V4, 80);
    let served = || scene.pods[1].client().tcp(target).server().is_some();
    eventually(PATIENCE, served).expect("changes are applied");
}

#[test]
fn node_ports_go_on_answering_when_addresses_cannot_be_read() {
    let scene = Scene::new();
    // Without a Node object the node's addresses are those of the host.
    scene.manifests.remove("nodes.yaml").unwrap();
    let agent = scene.run();
    let target = scene.lab.node_a.outside().port(portolan_integration::Family::V4, 30_081);
    let client = scene.lab.client();
    assert!(client.tcp(target).server().is_some());
    limit(&agent, 3);
    scene.namespace().ip("addr add 192.0.2.77/24 dev eth0\n").unwrap();
    wait_for_line(&agent, "Cannot read the addresses of this host");
    assert!(client.tcp(target).server().is_some(), "known addresses answer");
    limit(&agent, 1024);
    let new = std::net::SocketAddr::from(([192, 0, 2, 77], 30_081));
    eventually(PATIENCE, || client.tcp(new).server().is_some())
        .expect("the new address answers as soon as it can be read");
}

#[test]
fn a_start_without_file_descriptors_says_so() {
    let scene = Scene::new();
    // With fewer descriptors no program starts; with more, this program does.
    for descriptors in 4..8 {
        let program = ["prlimit", &format!("--nofile={descriptors}")];
        let mut agent = Agent::spawn_by(&scene.lab.node_a, &program, scene.manifests.path(), &[]).unwrap();
        let mut status = None;
        eventually(PATIENCE, || {
            status = agent.ended();
            status.is_some()
        });
        let stderr = agent.stderr();
        assert_eq!(status.and_then(|status| status.code()), Some(1), "{descriptors}: {stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("portolan: ") && last.contains("Too many open files"), "{stderr}");
    }
}

#[test]
fn descriptors_do_not_leak() {
    let scene = Scene::new();
    let agent = scene.run();
    scene.expect_restored("flush ruleset");
    let before = open_descriptors(&agent);
    for _ in 0..5 {
        scene.expect_restored("flush ruleset");
    }
    // Health checks come and go.
    let few = eventually(PATIENCE, || open_descriptors(&agent) <= before + 2);
    assert!(few.is_some(), "{} descriptors, {before} before", open_descriptors(&agent));
}

#[test]
fn a_full_disk_or_a_closed_pipe_behind_the_log_stops_nothing() {
    for log in
        ["exec \"$0\" \"$@\" 2>/dev/full", "exec \"$0\" \"$@\" 2> >(exec true)", "exec \"$0\" \"$@\" 2>&-"]
    {
        let scene = Scene::new();
        let arguments = ["--cluster-cidr", CLUSTER_CIDR, "-v", "4"];
        let program = ["bash", "-c", log];
        let mut agent =
            Agent::spawn_by(&scene.lab.node_a, &program, scene.manifests.path(), &arguments).unwrap();
        let synced = || agent.readyz() == Some(200);
        eventually(PATIENCE, synced).unwrap_or_else(|| panic!("it is synced with {log}"));
        for _ in 0..3 {
            scene.expect_restored("flush ruleset");
        }
        let service = crate::scene::service("new", scene.lab.cluster_ip(7));
        scene.put("new", &service, &[&scene.pods[0]]);
        let target = scene.lab.cluster_ip(7).port(portolan_integration::Family::V4, 80);
        let served = || scene.pods[1].client().tcp(target).server().is_some();
        eventually(PATIENCE, served).unwrap_or_else(|| panic!("changes are applied with {log}"));
        assert!(agent.ended().is_none());
    }
}
