//! Every kind of change of our tables by others is undone and logged.

use portolan_integration::nft;

use crate::scene::{Scene, count_lines, wait_for_line};

/// Runs these commands, and expects that their changes are undone and that a log line contains this description.
#[track_caller]
fn undone(commands: &str, said: &str) {
    let scene = Scene::new();
    let agent = scene.run();
    scene.expect_restored(commands);
    let line = wait_for_line(&agent, "Repaired what another process changed");
    assert!(line.contains(said), "{line}");
    assert!(line.contains("by=\"nft["), "it names the process: {line}");
    assert!(line.starts_with('W'), "an operator should know: {line}");
}

/// The frontend element of the first Service.
const FRONTEND: &str = "ip portolan frontends { 10.96.0.1 . tcp . 80";

#[test]
fn a_flushed_ruleset() {
    undone("flush ruleset", "table ip deleted, table ip6 deleted");
}

#[test]
fn one_deleted_table() {
    undone("delete table ip6 portolan", r#"found="table ip6 deleted""#);
}

#[test]
fn one_deleted_element() {
    undone(&format!("delete element {FRONTEND} }}"), r#"found="1 element of ip map frontends deleted""#);
}

#[test]
fn all_elements_of_a_map() {
    undone("flush map ip6 portolan endpoints", "elements of ip6 map endpoints deleted\"");
}

#[test]
fn an_element_with_another_value() {
    let commands = format!(
        "delete element {FRONTEND} }}\nadd element {FRONTEND} : 0:7 }}\n\
         delete element ip portolan node-ports {{ tcp . 30081 }}\n"
    );
    undone(&commands, "1 element of ip map frontends changed, 1 element of ip map node-ports deleted");
}

#[test]
fn an_added_element() {
    undone(
        "add element ip portolan cluster-ips { 10.96.0.99 }",
        r#"found="1 element of ip set cluster-ips added""#,
    );
}

#[test]
fn a_rule_in_our_chain() {
    undone(
        "insert rule ip portolan services ip saddr 192.0.2.1 drop",
        r#"found="ip chain services changed""#,
    );
}

#[test]
fn a_flushed_chain() {
    undone("flush chain ip6 portolan send", r#"found="ip6 chain send changed""#);
}

#[test]
fn a_deleted_chain() {
    // The elements and rules that lead to a chain must go first.
    undone(
        "delete element ip portolan classes { 1:2 }\nflush chain ip portolan cluster-2\n\
         delete chain ip portolan cluster-2\n",
        "ip chain cluster-2 deleted, 1 element of ip map classes deleted",
    );
}

#[test]
fn a_chain_that_hooks_into_the_node() {
    undone(
        "add chain ip portolan evil { type filter hook input priority 0; policy drop; }",
        r#"found="ip chain evil added""#,
    );
}

#[test]
fn a_set_of_another_process() {
    undone("add set ip portolan strangers { type ipv4_addr; }", r#"found="ip set strangers added""#);
}

#[test]
fn a_table_put_to_sleep() {
    undone(
        "add table ip portolan { flags dormant; }",
        "base chains, flags or named objects of table ip changed",
    );
}

#[test]
fn a_counter_of_another_process() {
    undone("add counter ip portolan stranger", "base chains, flags or named objects of table ip changed");
}

#[test]
fn changes_of_other_tables_are_ignored() {
    let scene = Scene::new();
    let agent = scene.run();
    // The tables exist before the log line about them.
    wait_for_line(&agent, r#"cause="Start""#);
    for n in 0..20 {
        scene.nft(&format!(
            "add table inet other-{n} {{ set frontends {{ type ipv4_addr; elements = {{ 10.0.0.1 }}; }}; }}\n\
             add table inet portolan {{ chain c {{ }}; }}\ndelete table inet portolan\n"
        ));
    }
    // Notifications come in order: when this change is seen, all earlier ones were.
    scene.expect_restored("delete table ip6 portolan");
    wait_for_line(&agent, r#"cause="Repair""#);
    assert_eq!(count_lines(&agent, r#"cause="Repair""#), 1, "{}", agent.stderr());
    assert_eq!(count_lines(&agent, "full=true"), 2, "the start and the repair: {}", agent.stderr());
    let listed = nft(scene.namespace(), &["list", "tables"], "").unwrap();
    assert!(listed.contains("other-19"), "they are left alone");
}

#[test]
fn our_own_commits_are_no_foreign_changes() {
    let scene = Scene::new();
    let agent = scene.run();
    for round in 0..10 {
        let service = crate::scene::service("web", scene.lab.cluster_ip(10 + round));
        scene.put("web", &service, &[&scene.pods[0]]);
        let address = scene.lab.cluster_ip(10 + round).v4.to_string();
        let applied = || {
            nft(scene.namespace(), &["list", "map", "ip", "portolan", "frontends"], "")
                .is_ok_and(|listing| listing.contains(&address))
        };
        portolan_integration::eventually(crate::scene::PATIENCE, applied).expect("the change is applied");
    }
    assert_eq!(count_lines(&agent, "Repaired"), 0, "{}", agent.stderr());
    assert_eq!(count_lines(&agent, "full=true"), 1, "nothing was read back: {}", agent.stderr());
}
