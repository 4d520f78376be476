//! Tables that the binary owns.

use std::collections::BTreeMap;

use portolan::kernel::nftables::{Kernel, Ownership, Tables};
use portolan_integration::{Agent, CLUSTER_CIDR, Notifications, nft};
use portolan_rules::ruleset::{Family, Ruleset};

use crate::scene::{Scene, count_lines, wait_for_line};

const OWNER: &str = "--table-owner";

/// Dumps our tables. nft 1.0.6 cannot list them: it does not know the flag that an owner leaves behind, and prints
/// uninitialised memory.
fn dump(scene: &Scene) -> Ruleset {
    scene.namespace().enter(|| Kernel::open().unwrap().dump("portolan").unwrap())
}

/// Returns the owner of the tables, as another process sees it.
fn ownership(scene: &Scene) -> BTreeMap<Family, Ownership> {
    scene.namespace().enter(|| Kernel::open().unwrap().ownership("portolan").unwrap())
}

#[track_caller]
fn expect_both(scene: &Scene, whose: Ownership) {
    assert_eq!(ownership(scene), Family::ALL.map(|family| (family, whose)).into());
}

fn command(scene: &Scene, command: &str) -> (Option<i32>, String) {
    let facts = ["-f", scene.manifests.path().to_str().unwrap(), "--hostname-override", "node-a"];
    let cidr = ["--cluster-cidr", CLUSTER_CIDR];
    let rest = if command == "cleanup" { vec![] } else { [facts.as_slice(), &cidr].concat() };
    let output = Agent::command(&scene.lab.node_a, &[&[command], rest.as_slice()].concat()).unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn no_other_process_can_change_the_tables() {
    let scene = Scene::new();
    let agent = scene.run_with(&[OWNER]);
    let before = dump(&scene);
    expect_both(&scene, Ownership::Others);
    scene.nft("flush ruleset");
    assert_eq!(dump(&scene), before, "a flush passes over them");
    for commands in ["delete table ip portolan", "flush chain ip portolan services"] {
        let error = nft(scene.namespace(), &["-f", "-"], commands).unwrap_err().to_string();
        assert!(error.contains("Operation not permitted"), "{error}");
    }
    assert_eq!(count_lines(&agent, "Repaired"), 0, "{}", agent.stderr());
    let (code, said) = command(&scene, "diff");
    assert!(code == Some(0) && said.starts_with("No difference"), "flags are no difference: {said}");
    let (code, said) = command(&scene, "cleanup");
    assert_eq!(code, Some(1));
    assert!(said.contains("belongs to another process") && said.lines().count() == 1, "{said}");
    // The owner itself can change the tables.
    let service = crate::scene::service("web", scene.lab.cluster_ip(9));
    scene.put("web", &service, &[&scene.pods[0]]);
    let target = scene.lab.cluster_ip(9).port(portolan_integration::Family::V4, 80);
    let applied = || scene.pods[1].client().tcp(target).server().is_some();
    portolan_integration::eventually(crate::scene::PATIENCE, applied).expect("the change is applied");
}

#[test]
fn the_tables_outlive_their_owner_and_the_next_takes_them_over() {
    let scene = Scene::new();
    scene.run_with(&[OWNER]).kill().unwrap();
    let before = dump(&scene);
    expect_both(&scene, Ownership::Orphan);
    let notifications = Notifications::start(scene.namespace()).unwrap();
    let again = scene.run_with(&[OWNER]);
    expect_both(&scene, Ownership::Others);
    assert_eq!(dump(&scene), before);
    let changes = notifications.changes().unwrap();
    let objects: Vec<_> =
        changes.iter().filter(|line| !line.starts_with('#') && !line.starts_with("add table")).collect();
    assert!(objects.is_empty(), "nothing is written anew: {objects:#?}");
    again.terminate().unwrap();
    // Without the option, the agent uses the tables as they are.
    let open = scene.run();
    expect_both(&scene, Ownership::Orphan);
    assert_eq!(dump(&scene), before);
    scene.nft("flush ruleset");
    let restored = || dump(&scene) == before;
    portolan_integration::eventually(crate::scene::PATIENCE, restored).expect("a flush is undone");
    expect_both(&scene, Ownership::None);
    open.terminate().unwrap();
}

#[test]
fn tables_that_were_open_are_replaced_at_once() {
    let scene = Scene::new();
    scene.run().terminate().unwrap();
    let before = dump(&scene);
    let clients = scene.pods[0].client();
    let target = scene.lab.cluster_ip(1).port(portolan_integration::Family::V4, 80);
    let agent = scene.run_with(&[OWNER]);
    expect_both(&scene, Ownership::Others);
    assert!(clients.tcp(target).server().is_some());
    assert_eq!(dump(&scene), before);
    assert_eq!(count_lines(&agent, "Repaired"), 0, "{}", agent.stderr());
}

#[test]
fn cleanup_removes_what_an_owner_left() {
    let scene = Scene::new();
    scene.run_with(&[OWNER]).terminate().unwrap();
    expect_both(&scene, Ownership::Orphan);
    let (code, said) = command(&scene, "cleanup");
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(dump(&scene), Ruleset::default());
}

#[test]
fn an_agent_that_finds_the_tables_owned_says_so_and_waits() {
    let scene = Scene::new();
    let owner = scene.run_with(&[OWNER]);
    let late = Agent::spawn(
        &scene.lab.node_a,
        scene.manifests.path(),
        &["--cluster-cidr", "10.0.0.0/8", "--healthz-bind-address", "", "--metrics-bind-address", ""],
    )
    .unwrap();
    wait_for_line(&late, "belongs to another process");
    owner.terminate().unwrap();
    wait_for_line(&late, "In sync: ");
}
