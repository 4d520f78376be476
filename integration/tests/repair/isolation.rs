//! A Service that the kernel refuses does not affect the others.
//!
//! A healthy kernel refuses no Service. To simulate a refusal, another process adds a conflicting element before each
//! commit, after the agent has read the kernel, and removes it afterwards.

use std::time::Duration;

use portolan_integration::{Agent, Commits, Family, Moment, Protocol, Slice, eventually, nft};

use crate::scene::{PATIENCE, Scene, service, wait_for_line};

/// Returns the value of a metric in `/metrics`.
fn figure(agent: &Agent, name: &str) -> Option<f64> {
    let page = agent.get(10249, "/metrics")?.body;
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Starts a stranger that makes the kernel refuse this element of ours.
fn refuse(scene: &Scene, agent: &Agent, element: &'static str) -> Commits {
    let (namespace, mut is_there) = (scene.namespace().clone(), false);
    let attend = move |moment| match moment {
        Moment::Before => {
            let add = format!("add element {element} : 0:7 }}");
            is_there = nft(&namespace, &["-f", "-"], &add).is_ok();
        }
        Moment::After if is_there => {
            let delete = format!("delete element {element} }}");
            nft(&namespace, &["-f", "-"], &delete).unwrap_or_else(|error| panic!("{error}"));
        }
        Moment::After => {}
    };
    Commits::hold_up(agent.pid(), attend).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_service_that_the_kernel_refuses_delays_no_other() {
    let scene = Scene::new();
    let agent = scene.run();
    let quarantined = |count| {
        let counted = || figure(&agent, "portolan_quarantined_services") == Some(count);
        eventually(PATIENCE, counted).unwrap_or_else(|| panic!("{count} are counted: {}", agent.stderr()));
    };
    quarantined(0.0);
    let address = |number| scene.lab.cluster_ip(number).port(Family::V4, 80);
    // A short timeout, because no other Service has the address, so that connections are not refused.
    let client = scene.pods[1].client().within(Duration::from_secs(1));
    let is_served = |number| client.tcp(address(number)).server() == Some("web-1");

    // A refused Service and an accepted one, in one file and so in one transaction.
    let stranger = refuse(&scene, &agent, "ip portolan frontends { 10.96.0.7 . tcp . 80");
    let objects = |numbers: &[u8]| -> Vec<_> {
        let both = |number: &u8| {
            let name = format!("s{number}");
            let slices = Slice::both(&name, ("http", Protocol::Tcp, 8080), &[&scene.pods[0]]);
            std::iter::once(service(&name, scene.lab.cluster_ip(*number)).object()).chain(slices)
        };
        numbers.iter().flat_map(both).collect()
    };
    scene.manifests.put("both.yaml", &objects(&[7, 8])).unwrap();
    let line = wait_for_line(&agent, "cannot be programmed");
    assert!(line.starts_with('E') && line.contains(r#"service="default/s7""#), "{line}");
    assert!(line.contains("element ip portolan frontends { 10.96.0.7 . tcp . 80"), "{line}");
    eventually(PATIENCE, || is_served(8)).expect("the other is programmed");
    assert!(!is_served(7), "{}", agent.stderr());
    quarantined(1.0);
    assert_eq!(figure(&agent, "portolan_quarantines_total"), Some(1.0));

    // Meanwhile other Services change.
    scene.manifests.put("more.yaml", &objects(&[9])).unwrap();
    eventually(PATIENCE, || is_served(9)).expect("a later one is programmed");
    assert!(!is_served(7), "{}", agent.stderr());

    // The stranger is gone, and the Service changes, so it is tried again.
    drop(stranger);
    let ports = service("s7", scene.lab.cluster_ip(7)).port("more", Protocol::Tcp, 81).object();
    scene.manifests.put("both.yaml", &[&objects(&[7, 8])[1..], &[ports]].concat()).unwrap();
    wait_for_line(&agent, r#""Service is programmed again" service="default/s7""#);
    eventually(PATIENCE, || is_served(7)).expect("it is served");
    quarantined(0.0);
    eventually(PATIENCE, || is_served(8) && is_served(9)).expect("so are the others");
}
