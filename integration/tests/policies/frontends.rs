//! Services with every kind of frontend, and assertions about them.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use portolan_integration::{Answer, Client, Family, Node, Pod, Protocol, Service, Slice, eventually};
use serde_json::{Value, json};

use crate::scene::{PATIENCE, PROTOCOLS, Scene, assert_refused, enough, every_protocol, service};

/// How long to wait when no answer is expected.
const SILENCE: Duration = Duration::from_millis(300);
/// The timeout of each attempt while waiting for a change.
const SOON: Duration = Duration::from_secs(1);

/// Returns the nth Service, `service-n`, with its own ClusterIP, VIP, externalIP and node port, all for every protocol.
pub fn exposed(scene: &Scene, n: u8) -> Service {
    let service = service(&name(n), scene.lab.cluster_ip(n)).of_type("LoadBalancer");
    let service = every_protocol(service, Some(node_port(n)));
    Family::BOTH.iter().fold(service, |service, family| {
        let service = service.ingress(scene.lab.external_ip(n).of(*family), None);
        service.external_ip(scene.lab.external_ip(100 + n).of(*family))
    })
}

/// Returns the name of the nth Service.
pub fn name(n: u8) -> String {
    format!("service-{n}")
}

/// Returns the node port of the nth Service.
pub fn node_port(n: u8) -> u16 {
    30_079 + u16::from(n)
}

/// Writes the nth Service with endpoints: pods, and additional fields of their entries.
pub fn put(scene: &Scene, n: u8, service: &Service, endpoints: &[(&Pod, Value)]) {
    scene.put(&format!("{}.yaml", name(n)), service, slices(n, endpoints));
}

/// Returns the slices of the nth Service: pods, and additional fields of their entries.
pub fn slices(n: u8, endpoints: &[(&Pod, Value)]) -> Vec<Value> {
    let slice = |family| {
        let slice = PROTOCOLS.iter().fold(Slice::new(&name(n), family), |slice, protocol| {
            slice.port(&protocol.name().to_lowercase(), *protocol, 8080)
        });
        let mut slice = endpoints.iter().fold(slice, |slice, (pod, _)| slice.pod(pod)).object();
        for (i, (_, fields)) in endpoints.iter().enumerate() {
            for (key, value) in fields.as_object().into_iter().flatten() {
                slice["endpoints"][i][key] = value.clone();
            }
        }
        slice
    };
    Family::BOTH.map(slice).into()
}

/// Returns pods as ready endpoints, without additional fields.
pub fn ready<'a>(pods: &[&'a Pod]) -> Vec<(&'a Pod, Value)> {
    pods.iter().map(|pod| (*pod, json!({}))).collect()
}

/// Starts a pod that answers TCP and UDP.
pub fn pod(node: &Node, name: &str) -> Pod {
    let pod = node.pod(name).unwrap();
    pod.serve(Protocol::Tcp, 8080).unwrap().serve(Protocol::Udp, 8080).unwrap()
}

/// Returns the frontends of the nth Service, each with its kind; the node port is node-a's.
pub fn targets(scene: &Scene, n: u8, family: Family) -> [(&'static str, SocketAddr); 4] {
    let [node_port, vip, external] = external_targets(scene, n, family);
    [("ClusterIP", scene.lab.cluster_ip(n).port(family, 80)), node_port, vip, external]
}

/// Returns the frontends to which the external policy applies.
pub fn external_targets(scene: &Scene, n: u8, family: Family) -> [(&'static str, SocketAddr); 3] {
    [
        ("node port", scene.lab.node_a.outside().port(family, node_port(n))),
        ("VIP", scene.lab.external_ip(n).port(family, 80)),
        ("externalIP", scene.lab.external_ip(100 + n).port(family, 80)),
    ]
}

/// Asserts that these endpoints, and no others, serve a target; returns the answers.
#[track_caller]
pub fn assert_all_serve(client: &Client, target: SocketAddr, servers: &[&str], what: &str) -> Vec<Answer> {
    let what = format!("{} to {what} ({target})", client.name());
    let mut answers = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let some = client.many(protocol, target, enough(servers.len()), 2);
        let seen: BTreeSet<_> = some
            .iter()
            .map(|answer| answer.server().map_or_else(|| answer.to_string(), str::to_owned))
            .collect();
        let expected: BTreeSet<_> = servers.iter().map(|server| (*server).to_owned()).collect();
        assert_eq!(seen, expected, "{what} over {protocol}");
        answers.extend(some);
    }
    answers
}

/// Waits until exactly these endpoints serve a target.
#[track_caller]
pub fn wait_until_serve(client: &Client, target: SocketAddr, servers: &[&str], what: &str) -> Duration {
    let client = client.within(SOON);
    let expected: BTreeSet<_> = servers.iter().copied().collect();
    let mut last = Vec::new();
    let time = eventually(PATIENCE, || {
        last = client.many(Protocol::Tcp, target, 15 * servers.len(), 2);
        let seen: BTreeSet<_> = last.iter().filter_map(Answer::server).collect();
        seen == expected && last.iter().all(|answer| answer.server().is_some())
    });
    time.unwrap_or_else(|| {
        let last: BTreeSet<_> = last.iter().map(Answer::to_string).collect();
        panic!("{what}: {} to {target}, not {servers:?} within {PATIENCE:?}: {last:?}", client.name())
    })
}

/// Asserts that no answer comes.
#[track_caller]
pub fn assert_silence(client: &Client, target: SocketAddr, what: &str) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let answer = client.within(SILENCE).probe(protocol, target);
        assert_eq!(answer, Answer::TimedOut, "{} to {what} ({target}) over {protocol}", client.name());
    }
}

/// Asserts that a connection is refused at once, over TCP. (Linux limits the ICMP errors that would refuse UDP.)
#[track_caller]
pub fn assert_refuses(client: &Client, target: SocketAddr, what: &str) {
    assert_refused(&client.tcp(target), &format!("{} to {what} ({target})", client.name()));
}

/// Waits until no answer comes.
#[track_caller]
pub fn wait_for_silence(client: &Client, target: SocketAddr, what: &str) {
    let client = client.within(SOON);
    crate::scene::wait_until(what, || client.tcp(target) == Answer::TimedOut);
}

/// Asserts that the servers saw this address.
#[track_caller]
pub fn assert_source(answers: &[Answer], source: IpAddr, what: &str) {
    for answer in answers {
        assert_eq!(answer.source(), Some(source), "{what}: its own address, but it was {answer}");
    }
}

/// Asserts that the servers saw an address of this node.
#[track_caller]
pub fn assert_masqueraded(answers: &[Answer], node: &Node, what: &str) {
    for answer in answers {
        let masqueraded = answer.source().is_some_and(|source| node.owns(source));
        assert!(masqueraded, "{what}: masqueraded by {}, but it was {answer}", node.name());
    }
}
