//! `top` on a terminal, beside a running agent.

use nix::sys::signal::Signal;
use portolan_integration::{Family, Protocol};

use crate::{
    running::{Running, put},
    screen::Screen,
    shared::portolan,
};

fn top(running: &Running, arguments: &[&str]) -> Screen {
    let socket = running.socket().display().to_string();
    let arguments = [&["top", "--socket", &socket], arguments].concat();
    Screen::start(running.scene.lab.node_a.namespace(), &arguments)
}

#[test]
fn changes_are_shown_as_they_are_committed_and_a_service_is_opened_and_left() {
    let running = Running::new(&["--endpoint-counters"]);
    let mut screen = top(&running, &[]);
    screen.wait_for_line(&["Portolan", "on", "node-a", "in", "sync"]);
    screen.wait_for_line(&["default/web", "4/4", "0", "0", "programmed"]);
    assert!(screen.is_drawn_over());
    put(&running.scene, &[&running.pods[2]]);
    screen.wait_for_line(&["default/web", "2/2", "programmed"]);
    screen.wait("the commit is shown", |text| text.contains(" change: "));
    screen.press("/nothing\r");
    screen.wait("all are filtered", |text| text.contains("No Service has nothing in its name."));
    screen.press("\x1b");
    screen.wait_for_line(&["default/web", "2/2"]);
    screen.press("\r");
    let endpoint = running.pods[2].address().port(Family::V4, 8080).to_string();
    screen.wait_for_line(&[&endpoint, "100.0%", "used"]);
    put(&running.scene, &[]);
    screen.wait("what is wrong is named", |text| text.contains("the Service has no EndpointSlice"));
    screen.press("\x1b");
    screen.wait_for_line(&["default/web", "0/0"]);
    // Refused connections are counted.
    let target = running.scene.lab.cluster_ip(1).port(Family::V4, 80);
    let answers = running.scene.shell.client().many(Protocol::Tcp, target, 7, 1);
    assert!(answers.iter().all(|answer| answer.server().is_none()), "{answers:?}");
    screen.wait_for_line(&["default/web", "0/0", "0", "7", "programmed"]);
    screen.press("q");
    assert!(screen.end().success());
    assert!(!screen.is_drawn_over(), "{}", screen.text());
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_as_it_was() {
    let running = Running::new(&[]);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut screen = top(&running, &["web"]);
        screen.wait("without counters, it says how to have them", |text| {
            text.contains("Connections are not counted: the agent has to run with --endpoint-counters")
        });
        screen.wait("the Service is open", |text| text.contains("Service default/web  NodePort"));
        screen.signal(signal);
        assert!(screen.end().success(), "{signal}: {}", screen.text());
        assert!(!screen.is_drawn_over(), "{signal}");
    }
    let mut screen = top(&running, &[]);
    screen.wait("it is there", |text| text.contains("SERVICE"));
    screen.press("\x03");
    assert!(screen.end().success(), "by Ctrl-C");
}

#[test]
fn it_outlives_the_agent_and_needs_one_at_the_start() {
    let running = Running::new(&[]);
    let mut screen = top(&running, &[]);
    screen.wait_for_line(&["default/web", "4/4"]);
    let socket = running.socket();
    let (namespace, missing) = (running.scene.lab.node_a.namespace().clone(), socket.with_extension("none"));
    running.agent.kill().unwrap();
    screen.wait("that the agent is gone", |text| text.contains("no agent listens there"));
    screen.press("q");
    assert!(screen.end().success());

    let missing = missing.display().to_string();
    let mut screen = Screen::start(&namespace, &["top", "--socket", &missing]);
    assert_eq!(screen.end().code(), Some(2));
    screen.wait("a line", |text| {
        text.trim().starts_with("portolan: ") && text.contains("no agent listens there")
    });
    assert!(!screen.is_drawn_over());
    let answer = portolan(&namespace, &["top"]);
    assert_eq!((answer.code, &*answer.stdout, answer.stderr.lines().count()), (Some(2), "", 1), "{answer:?}");
    assert!(answer.stderr.contains("standard output is not one"), "{}", answer.stderr);
}
