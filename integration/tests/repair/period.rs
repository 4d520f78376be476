//! The fallback for lost notifications: a periodic comparison of everything.

use crate::scene::{Scene, count_lines, wait_for_line};

#[test]
fn nothing_is_read_once_in_a_while_if_every_commit_was_heard_of() {
    let scene = Scene::new();
    let agent = scene.run_with(&["--full-sync-period", "500ms"]);
    wait_for_line(&agent, "there is nothing to compare");
    let line = wait_for_line(&agent, r#"cause="Period""#);
    for cost in ["dump=", "compile=", "duration="] {
        assert!(line.contains(cost), "its cost is reported: {line}");
    }
    assert!(line.contains("full=false") && line.contains("operations=0"), "{line}");
    assert_eq!(count_lines(&agent, "Committed"), 1, "nothing is written: {}", agent.stderr());
    scene.expect_restored("flush ruleset");
}

#[test]
fn without_asking_for_it_that_is_rare() {
    let scene = Scene::new();
    let agent = scene.run();
    scene.expect_restored("flush ruleset");
    assert_eq!(count_lines(&agent, r#"cause="Period""#), 0, "{}", agent.stderr());
}
