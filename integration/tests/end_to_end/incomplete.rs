//! Missing or unreadable input removes nothing from the kernel: no input at all, and files that are broken when the
//! agent starts.

use std::{fs, path::Path, process::Output, time::Duration};

use portolan_integration::{Agent, CLUSTER_CIDR, Family, Notifications, Pod, Protocol, Slice, nft};
use serde_json::Value;

use crate::scene::{Scene, assert_refused, assert_served, service, wait_until};

const FACTS: [&str; 4] = ["--hostname-override", "node-a", "--cluster-cidr", CLUSTER_CIDR];
const STATUS: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"services is forbidden"}"#;

fn agent(scene: &Scene) -> Agent {
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &FACTS[2..]);
    agent.unwrap_or_else(|error| panic!("{error}"))
}

/// Runs the binary on node-a with this standard input.
fn portolan(scene: &Scene, arguments: &[&str], stdin: &str) -> Output {
    let binary = portolan_integration::binary().unwrap();
    let all = [arguments, &FACTS].concat();
    scene.lab.node_a.namespace().output(binary.to_str().unwrap(), &all, stdin).unwrap()
}

fn list(scene: &Scene) -> String {
    nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap()
}

/// Writes a Service at the ClusterIP of this number, with these pods.
fn put(scene: &Scene, name: &str, number: u8, pods: &[&Pod]) {
    let service = service(name, scene.lab.cluster_ip(number)).port("http", Protocol::Tcp, 80);
    scene.put(&format!("{name}.yaml"), &service, Slice::both(name, ("http", Protocol::Tcp, 8080), pods));
}

#[track_caller]
fn assert_serve(scene: &Scene, number: u8, servers: &[&str], circumstances: &str) {
    for family in Family::BOTH {
        for client in scene.everywhere() {
            for answer in client.many(Protocol::Tcp, scene.lab.cluster_ip(number).port(family, 80), 6, 2) {
                assert_served(&answer, servers, circumstances);
            }
        }
    }
}

/// Waits until a Service is served by this pod.
fn wait_for(scene: &Scene, number: u8, server: &str) {
    let client = scene.shell.client().within(Duration::from_secs(1));
    let target = scene.lab.cluster_ip(number).port(Family::V4, 80);
    wait_until(server, || client.tcp(target).server() == Some(server));
}

#[test]
fn without_any_object_no_command_changes_anything() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    agent(&scene).terminate().unwrap();
    let before = list(&scene);
    let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    fs::create_dir_all(at("tree/base")).unwrap();
    fs::write(at("tree/base/web.yaml"), "kind: Service").unwrap();
    fs::create_dir(at("none")).unwrap();
    let file = |name: &str, text: &str| {
        fs::write(at(name), text).unwrap();
        at(name)
    };
    let cases = [
        ("-".to_owned(), "", "-: holds no object"),
        ("-".to_owned(), STATUS, "services is forbidden"),
        ("-".to_owned(), "apiVersion: v1\nitems: []\nkind: List\n", "-: holds no object"),
        (file("comment.yaml", "# nothing\n"), "", "comment.yaml: holds no object"),
        (file("status.json", STATUS), "", "services is forbidden"),
        (file("config.yaml", "{apiVersion: v1, kind: ConfigMap}"), "", "holds no Service, EndpointSlice"),
        (file("broken.yaml", "["), "", "broken.yaml:1"),
        (at("tree"), "", "tree: holds no *.yaml, *.yml or *.json; those in its subdirectories are not read"),
        (at("none"), "", "none: holds no *.yaml, *.yml or *.json"),
        (at("absent"), "", "absent: "),
        ("/dev/zero".to_owned(), "", "/dev/zero: cannot be read"),
    ];
    for (path, stdin, words) in &cases {
        for (command, code) in [(&["render"][..], 1), (&["diff"], 2), (&["run", "--once"], 1)] {
            let output = portolan(&scene, &[command, &["-f", path]].concat(), stdin);
            let stderr = String::from_utf8_lossy(&output.stderr);
            let case = format!("{command:?} of {path} with {stdin:?}: {stderr}");
            assert_eq!(output.status.code(), Some(code), "{case}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{case}");
            assert_eq!(stderr.lines().filter(|line| line.contains(words)).count(), 1, "{case}");
        }
    }
    // Standard input is read once, so no more objects can come.
    let output = portolan(&scene, &["run", "-f", "-", "--healthz-bind-address="], STATUS);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    // An agent that watches files reports the same, and waits for objects.
    for name in ["comment.yaml", "status.json", "config.yaml", "tree", "none"] {
        let agent = Agent::spawn(&scene.lab.node_a, Path::new(&at(name)), &FACTS[2..]).unwrap();
        wait_until("the agent reports it", || agent.stderr().contains("the kernel is left unchanged"));
        assert_eq!(agent.readyz(), Some(503), "{}", agent.stderr());
        agent.terminate().unwrap();
    }
    assert_eq!(notifications.changes().unwrap(), Vec::<String>::new());
    assert_eq!(list(&scene), before);

    // With --allow-empty it is accepted.
    let output = portolan(&scene, &["run", "--once", "--allow-empty", "-f", "-"], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!list(&scene).contains("default/web"));
}

/// `render … | nft -f -`: nft loads any output, even that of a failed command.
#[test]
fn a_pipe_into_nft_loads_nothing_when_a_path_gives_nothing() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    let directory = scene.manifests.path().to_str().unwrap();
    let nodes = scene.manifests.file("nodes.yaml").display().to_string();
    let pipe = |paths: &[&str], stdin: &str| {
        let output = portolan(&scene, &[&["render"], paths].concat(), stdin);
        nft(scene.lab.node_a.namespace(), &["-f", "-"], &String::from_utf8_lossy(&output.stdout)).unwrap();
    };
    pipe(&["-f", directory], "");
    assert_serve(&scene, 1, &["web-1"], "loaded by nft");
    for (paths, stdin) in [
        (&["-f", "/nowhere/at/all.yaml"][..], ""),
        (&["-f", "-"], ""),
        (&["-f", "-"], STATUS),
        (&["-f", &nodes, "-f", "-"], ""),
        (&["-f", &nodes, "-f", "/nowhere/at/all.yaml"], ""),
    ] {
        pipe(paths, stdin);
        assert_serve(&scene, 1, &["web-1"], &format!("after {paths:?} with {stdin:?}"));
    }
}

#[test]
fn a_file_that_loses_its_objects_while_the_agent_runs_keeps_them_in_force() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    put(&scene, "other", 2, &[&one]);
    let agent = agent(&scene);
    for text in ["", "# nothing\n", STATUS, "{apiVersion: v1, kind: List, items: []}"] {
        let known = agent.stderr().matches("web.yaml: ").count();
        scene.manifests.put_text("web.yaml", text).unwrap();
        wait_until("it is reported", || agent.stderr().matches("web.yaml: ").count() > known);
        // Meanwhile another file is followed, and so is this file once it is good again.
        put(&scene, "other", 2, &[&two]);
        wait_for(&scene, 2, "web-2");
        assert_serve(&scene, 1, &["web-1"], text);
        put(&scene, "web", 1, &[&two]);
        wait_for(&scene, 1, "web-2");
        put(&scene, "web", 1, &[&one]);
        put(&scene, "other", 2, &[&one]);
        wait_for(&scene, 1, "web-1");
        wait_for(&scene, 2, "web-1");
    }
    scene.manifests.remove("web.yaml").unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let client = scene.shell.client().within(Duration::from_secs(1));
    wait_until("a file that is removed takes its Service with it", || client.tcp(target).server().is_none());
}

#[test]
fn a_file_that_is_broken_at_a_restart_costs_nothing_until_it_is_repaired() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    put(&scene, "web", 1, &[&one, &two]);
    put(&scene, "other", 2, &[&one]);
    let good = fs::read_to_string(scene.manifests.file("web.yaml")).unwrap();
    agent(&scene).terminate().unwrap();
    let before = list(&scene);

    scene.manifests.put_text("web.yaml", &format!("{good}---\n  kind: [\n")).unwrap();
    let broken = fs::read_to_string(scene.manifests.file("web.yaml")).unwrap();
    for text in [&*broken, "kind: Service\n  metadata: [oops\n", "# nothing\n", ""] {
        scene.manifests.put_text("web.yaml", text).unwrap();
        let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
        let agent = agent(&scene);
        assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "a restart with {text:?}");
        assert_eq!(list(&scene), before, "{text:?}");
        // Another file changes: only its own endpoints change.
        put(&scene, "other", 2, &[&three]);
        wait_for(&scene, 2, "web-3");
        assert_serve(&scene, 1, &["web-1", "web-2"], &format!("{text:?}, and another file changed"));
        assert_serve(&scene, 2, &["web-3"], &format!("the other file, beside {text:?}"));
        put(&scene, "other", 2, &[&one]);
        wait_for(&scene, 2, "web-1");
        // An added Service is served; removing a file removes its Service.
        put(&scene, "new", 3, &[&two]);
        wait_for(&scene, 3, "web-2");
        scene.manifests.remove("new.yaml").unwrap();
        let target = scene.lab.cluster_ip(3).port(Family::V4, 80);
        let client = scene.shell.client().within(Duration::from_secs(1));
        wait_until("new goes", || client.tcp(target).server().is_none());
        assert_serve(&scene, 1, &["web-1", "web-2"], &format!("{text:?}, and other files came and went"));
        agent.terminate().unwrap();
    }

    // Without the Service in the file, the kept Service goes once all input can be read.
    let agent = agent(&scene);
    scene.manifests.put_text("web.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}").unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let client = scene.shell.client().within(Duration::from_secs(1));
    wait_until("what was left over goes", || client.tcp(target).server().is_none());
    wait_until("all of it", || !list(&scene).contains("default/web"));
    agent.terminate().unwrap();
}

#[test]
fn a_typo_in_a_slice_does_not_cost_its_service_the_endpoints_at_a_restart() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    scene.put_services(&[&one, &two]);
    put(&scene, "other", 7, &[&one]);
    let good = fs::read_to_string(scene.manifests.file("web.yaml")).unwrap();
    agent(&scene).terminate().unwrap();
    let before = list(&scene);

    // A typo in one of two slices, then in both; the Service itself can be read.
    let slice = "kind: EndpointSlice";
    let typos = [
        good.replacen(slice, &format!("{slice}\n{slice}"), 1),
        good.replace("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"),
    ];
    for typo in &typos {
        assert_ne!(*typo, good);
        scene.manifests.put_text("web.yaml", typo).unwrap();
        let notifications = Notifications::start(scene.lab.node_a.namespace()).unwrap();
        let agent = agent(&scene);
        let circumstances = agent.stderr();
        assert_eq!(notifications.changes().unwrap(), Vec::<String>::new(), "{circumstances}");
        assert_eq!(list(&scene), before, "{circumstances}");
        put(&scene, "other", 7, &[&three]);
        wait_for(&scene, 7, "web-3");
        for family in Family::BOTH {
            for target in [
                scene.lab.cluster_ip(1).port(family, 80),
                scene.lab.node_a.outside().port(family, 30_080),
                scene.lab.external_ip(1).port(family, 80),
            ] {
                let answer = scene.lab.client().tcp(target);
                assert_served(&answer, &["web-1", "web-2"], &format!("{target} {circumstances}"));
            }
        }
        put(&scene, "other", 7, &[&one]);
        wait_for(&scene, 7, "web-1");
        agent.terminate().unwrap();
    }
    // The file is repaired with fewer endpoints: the kept endpoints go.
    let agent = agent(&scene);
    put(&scene, "other", 7, &[&three]);
    scene.put_services(&[&two]);
    let address = one.address().v4.to_string();
    wait_until("the other endpoint goes", || !list(&scene).contains(&address));
    wait_for(&scene, 1, "web-2");
    assert_serve(&scene, 1, &["web-2"], "once all can be read");
    assert_refused(&scene.shell.client().tcp(scene.lab.cluster_ip(2).port(Family::V4, 80)), "still empty");
    agent.terminate().unwrap();
}

/// Without the Node it is unknown how to recognise pods: no rule changes until the Node can be read.
#[test]
fn rules_stay_while_the_node_that_they_depend_on_cannot_be_read() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    let arguments = ["--detect-local-mode", "NodeCIDR"];
    let start = |node| Agent::spawn(node, scene.manifests.path(), &arguments).unwrap();
    Agent::start(&scene.lab.node_a, scene.manifests.path(), &arguments).unwrap().terminate().unwrap();
    let before = list(&scene);
    let good = fs::read_to_string(scene.manifests.file("nodes.yaml")).unwrap();
    scene.manifests.put_text("nodes.yaml", "]").unwrap();
    let agent = start(&scene.lab.node_a);
    wait_until("the agent reports it", || agent.stderr().contains("the kernel is left unchanged"));
    put(&scene, "new", 2, &[&one]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(list(&scene), before);
    // The Node is enough, though another file is broken meanwhile.
    scene.manifests.put_text("broken.yaml", "]").unwrap();
    scene.manifests.put_text("nodes.yaml", &good).unwrap();
    wait_for(&scene, 2, "web-1");
    assert_serve(&scene, 1, &["web-1"], "once the Node can be read");
    agent.terminate().unwrap();
}

/// An existing table cannot get an owner: another table replaces it, and takes over the kept Services.
#[test]
fn what_is_left_over_moves_to_tables_with_an_owner() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    put(&scene, "other", 2, &[&one]);
    agent(&scene).terminate().unwrap();
    scene.manifests.put_text("web.yaml", "]").unwrap();
    let arguments = ["--table-owner", "--cluster-cidr", CLUSTER_CIDR];
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &arguments).unwrap();
    assert!(!agent.stderr().contains("has no effect"), "{}", agent.stderr());
    assert_serve(&scene, 1, &["web-1"], "its file is broken");
    put(&scene, "other", 2, &[&two]);
    wait_for(&scene, 2, "web-2");
    assert_serve(&scene, 1, &["web-1"], "another file changed");
    agent.terminate().unwrap();
}

#[test]
fn diff_and_once_take_nothing_away_either() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    put(&scene, "web", 1, &[&one]);
    put(&scene, "other", 2, &[&one]);
    let path = scene.manifests.path().to_str().unwrap();
    assert_eq!(portolan(&scene, &["run", "--once", "-f", path], "").status.code(), Some(0));
    scene.manifests.put_text("web.yaml", "]").unwrap();
    put(&scene, "other", 2, &[&two]);
    let diff = portolan(&scene, &["diff", "-f", path], "");
    assert_eq!(diff.status.code(), Some(2));
    let text = String::from_utf8_lossy(&diff.stdout).into_owned();
    assert!(text.contains(&two.address().v4.to_string()) && !text.contains("default/web"), "{text}");
    assert_eq!(portolan(&scene, &["run", "--once", "-f", path], "").status.code(), Some(1));
    assert_serve(&scene, 1, &["web-1"], "its file is broken");
    // It is unknown whether the other Service's endpoint is gone or is in the broken file.
    assert_serve(&scene, 2, &["web-1", "web-2"], "beside a file that is broken");
}

#[test]
fn no_input_takes_more_memory_than_it_may() {
    let scene = Scene::new();
    let directory = tempfile::tempdir().unwrap();
    let sparse = directory.path().join("sparse.yaml");
    fs::File::create(&sparse).unwrap().set_len(1 << 42).unwrap();
    let binary = portolan_integration::binary().unwrap();
    let large: Value = serde_json::json!({"apiVersion": "v1", "kind": "Service", "x": "y".repeat(5 << 20)});
    let large = large.to_string();
    for (path, stdin, words) in [
        (
            directory.path().to_str().unwrap(),
            "",
            "sparse.yaml: cannot be read: it is larger than 1073741824 bytes",
        ),
        ("/dev/zero", "", "/dev/zero: cannot be read: it is not text"),
        ("-", &*large, "-:1: an object is larger than 4 MiB"),
    ] {
        let limited = ["--as=512000000", binary.to_str().unwrap(), "render", "-f", path];
        let output = scene.lab.node_a.namespace().output("prlimit", &limited, stdin).unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{path}: {stderr}");
        assert_eq!((stderr.lines().count(), stderr.contains(words)), (1, true), "{path}: {stderr}");
    }
}
