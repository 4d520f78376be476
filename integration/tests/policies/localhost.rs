//! Node ports on 127.0.0.1 and `::1` (`--nodeport-addresses localhost`): only from the node itself, and as long as the
//! Service has them.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use portolan_integration::{Agent, Answer, CLUSTER_CIDR, Client, Family, Protocol};

use crate::{
    frontends::{assert_all_serve, exposed, node_port, put, ready, targets},
    scene::{Scene, enough, wait_until},
};

fn localhost(family: Family, n: u8) -> SocketAddr {
    let address = match family {
        Family::V4 => IpAddr::from(Ipv4Addr::LOCALHOST),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    (address, node_port(n)).into()
}

/// Waits until exactly these endpoints serve over TCP.
#[track_caller]
fn wait_until_serve(client: &Client, target: SocketAddr, servers: &[&str], what: &str) {
    wait_until(&format!("{what}: {servers:?} at {target}"), || {
        let answers = client.many(Protocol::Tcp, target, enough(servers.len()), 2);
        let mut seen: Vec<_> = answers.iter().map(|answer| answer.server().unwrap_or("nothing")).collect();
        seen.sort_unstable();
        seen.dedup();
        seen == servers
    });
}

#[test]
fn localhost_serves_the_node_itself_and_comes_and_goes_with_the_service() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "primary,localhost"]);
    let here = scene.lab.node_a.client();
    for family in Family::BOTH {
        assert!(here.tcp(localhost(family, 1)).is_refused(), "there is no Service yet");
    }
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one, &two]));
    for family in Family::BOTH {
        let target = localhost(family, 1);
        wait_until_serve(&here, target, &["web-1", "web-2"], "a Service that came");
        let [_, (_, node_port), ..] = targets(&scene, 1, family);
        assert_all_serve(&here, node_port, &["web-1", "web-2"], "node port");
        assert_all_serve(&scene.lab.client(), node_port, &["web-1", "web-2"], "node port");
        assert!(scene.shell.client().tcp(target).is_refused(), "localhost of a Pod is its own");
    }
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&two]));
    for family in Family::BOTH {
        wait_until_serve(&here, localhost(family, 1), &["web-2"], "another endpoint");
    }
    // The kernel has no additional rules or elements.
    let manifests = scene.manifests.path().to_str().unwrap();
    let diff = ["diff", "-f", manifests, "--hostname-override", "node-a", "--cluster-cidr", CLUSTER_CIDR];
    wait_until("what is unused is gone", || {
        Agent::command(&scene.lab.node_a, &diff).unwrap().status.code() == Some(0)
    });
    // An open connection outlives the Service, as in the kernel.
    let mut open = here.open(localhost(Family::V4, 1)).unwrap();
    scene.manifests.remove("service-1.yaml").unwrap();
    for family in Family::BOTH {
        wait_until("the port is closed", || here.tcp(localhost(family, 1)).is_refused());
    }
    open.exchange("still there").unwrap();
}

#[test]
fn policy_local_leads_the_node_to_every_endpoint_as_at_its_own_address() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    let service = exposed(&scene, 1).with("/spec/externalTrafficPolicy", "Local");
    put(&scene, 1, &service, &ready(&[&one, &two]));
    put(&scene, 2, &exposed(&scene, 2).with("/spec/sessionAffinity", "ClientIP"), &ready(&[&one, &two]));
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "primary,localhost"]);
    for node in scene.lab.nodes() {
        for family in Family::BOTH {
            wait_until_serve(&node.client(), localhost(family, 1), &["web-1", "web-2"], node.name());
            let answers = node.client().many(Protocol::Tcp, localhost(family, 2), 20, 2);
            let first = answers[0].server().unwrap();
            assert!(answers.iter().all(|answer| answer.server() == Some(first)), "a client stays");
        }
    }
}

#[test]
fn localhost_alone_closes_the_node_s_addresses() {
    let mut scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one, &two]));
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "localhost"]);
    for family in Family::BOTH {
        wait_until_serve(&scene.lab.node_a.client(), localhost(family, 1), &["web-1", "web-2"], "localhost");
        let [_, (_, node_port), ..] = targets(&scene, 1, family);
        for client in scene.everywhere() {
            assert!(client.tcp(node_port).is_refused(), "{}", client.name());
        }
    }
}

#[test]
fn without_the_word_nothing_listens() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one]));
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "0.0.0.0/0,::/0"]);
    for family in Family::BOTH {
        assert!(scene.lab.node_a.client().tcp(localhost(family, 1)).is_refused());
    }
}

/// With sysctls that let packets for 127.0.0.0/8 in, as kube-proxy's mode iptables leaves them.
#[test]
fn nothing_is_served_from_outside_even_where_sysctls_let_it_in() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one]));
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "all"]);
    let node = &scene.lab.node_a;
    wait_until_serve(&node.client(), localhost(Family::V4, 1), &["web-1"], "from the node");
    let pod = scene.shell.namespace();
    for namespace in [node.namespace(), pod] {
        namespace.sysctl("net/ipv4/conf/all/route_localnet", "1").unwrap();
    }
    // The kernel never lets packets for ::1 in, whatever the sysctls are.
    for (family, prefix, own) in [
        ("-4", "127.0.0.1/8", scene.shell.address().v4.into()),
        ("-6", "::1/128", IpAddr::from(scene.shell.address().v6)),
    ] {
        let route = pod.filter("ip", &[family, "route", "show", "default"], "").unwrap();
        let after = |word| route.split_whitespace().skip_while(|other| *other != word).nth(1).unwrap();
        let (address, _) = prefix.split_once('/').unwrap();
        let (gateway, device) = (after("via"), after("dev"));
        pod.ip(&format!(
            "addr del {prefix} dev lo\nroute add {address} via {gateway} dev {device} src {own}\n"
        ))
        .unwrap();
    }
    let client = scene.shell.client().within(Duration::from_secs(2));
    // The sysctls have an effect: a server that does not check the interface is reached.
    let open = node.namespace().enter(|| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 40_404)).unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = open.accept().unwrap();
        let _ = stream.write_all(b"x\n");
    });
    let reached = client.tcp((Ipv4Addr::LOCALHOST, 40_404).into());
    assert!(!matches!(reached, Answer::TimedOut | Answer::Refused { .. }), "{reached}");
    serving.join().unwrap();
    for family in Family::BOTH {
        let answer = client.tcp(localhost(family, 1));
        assert_eq!(answer.server(), None, "{answer}");
        assert_eq!(node.client().tcp(localhost(family, 1)).server(), Some("web-1"));
    }
}

#[test]
fn a_port_that_is_taken_is_served_once_it_is_free() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    let port = node_port(1);
    let taken =
        scene.lab.node_a.namespace().enter(move || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one]));
    scene.run_with(&["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "primary,localhost"]);
    wait_until("the log says so", || scene.stderr().contains("Node port cannot listen on localhost"));
    let here = scene.lab.node_a.client();
    wait_until_serve(&here, localhost(Family::V6, 1), &["web-1"], "the other family");
    drop(taken);
    wait_until_serve(&here, localhost(Family::V4, 1), &["web-1"], "it is free");
}

/// With a limit of 128 files, the proxy takes 16 connections, which leaves enough files for the agent.
#[test]
fn connections_are_bounded_and_the_agent_goes_on() {
    const MOST: usize = 16;
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    put(&scene, 1, &exposed(&scene, 1), &ready(&[&one]));
    let arguments = ["--cluster-cidr", CLUSTER_CIDR, "--nodeport-addresses", "primary,localhost"];
    let limited = ["prlimit", "--nofile=128:128"];
    let node = &scene.lab.node_a;
    let agent = Agent::spawn_by(node, &limited, scene.manifests.path(), &arguments).unwrap();
    let (here, target) = (node.client(), localhost(Family::V4, 1));
    wait_until_serve(&here, target, &["web-1"], "localhost");
    // Earlier connections may not have ended yet.
    let mut open = Vec::new();
    wait_until("as many connections as the limit allows", || {
        open.extend(here.open(target).ok().filter(|connection| connection.answer().server().is_some()));
        open.len() == MOST
    });
    for _ in 0..MOST {
        assert_eq!(here.tcp(target).server(), None, "one more is closed");
    }
    for connection in &mut open {
        connection.exchange("still there").unwrap();
    }
    assert_eq!(agent.readyz(), Some(200));
    drop(open);
    wait_until_serve(&here, target, &["web-1"], "there is room again");
}
