//! The masquerade matrix: behaviour.md §3 and the rows "Masquerade matrix … 27", "… no detector" and
//! "… masqueradeAll" of §12a. Each cell has the endpoints that answer and the source that they see, for IPv4 and IPv6.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use portolan_integration::{Answer, CLUSTER_CIDR, Client, Family, Protocol};

use crate::{
    frontends::{exposed, put, ready, targets},
    scene::Scene,
};

/// Policy, source, destination, and the outcome: the local endpoint, the remote one, whether masqueraded.
pub type Cell = (&'static str, &'static str, &'static str, &'static str);

const WITH_DETECTOR: [Cell; 27] = [
    ("default", "pod", "ClusterIP", "L+R"),
    ("default", "pod", "node port", "L+R SNAT"),
    ("default", "pod", "VIP", "L+R SNAT"),
    ("default", "node", "ClusterIP", "L+R SNAT"),
    ("default", "node", "node port", "L+R SNAT"),
    ("default", "node", "VIP", "L+R SNAT"),
    ("default", "outside", "ClusterIP", "L+R SNAT"),
    ("default", "outside", "node port", "L+R SNAT"),
    ("default", "outside", "VIP", "L+R SNAT"),
    ("eTP=Local", "pod", "ClusterIP", "L+R"),
    ("eTP=Local", "pod", "node port", "L+R"),
    ("eTP=Local", "pod", "VIP", "L+R"),
    ("eTP=Local", "node", "ClusterIP", "L+R SNAT"),
    ("eTP=Local", "node", "node port", "L+R SNAT"),
    ("eTP=Local", "node", "VIP", "L+R SNAT"),
    ("eTP=Local", "outside", "ClusterIP", "L+R SNAT"),
    ("eTP=Local", "outside", "node port", "L"),
    ("eTP=Local", "outside", "VIP", "L"),
    ("iTP=Local", "pod", "ClusterIP", "L"),
    ("iTP=Local", "pod", "node port", "L+R SNAT"),
    ("iTP=Local", "pod", "VIP", "L+R SNAT"),
    ("iTP=Local", "node", "ClusterIP", "L SNAT"),
    ("iTP=Local", "node", "node port", "L+R SNAT"),
    ("iTP=Local", "node", "VIP", "L+R SNAT"),
    ("iTP=Local", "outside", "ClusterIP", "L SNAT"),
    ("iTP=Local", "outside", "node port", "L+R SNAT"),
    ("iTP=Local", "outside", "VIP", "L+R SNAT"),
];

/// The differences without a detector: node and outside lose SNAT at ClusterIPs, pods reach only L.
pub const WITHOUT_DETECTOR: [Cell; 8] = [
    ("default", "node", "ClusterIP", "L+R"),
    ("default", "outside", "ClusterIP", "L+R"),
    ("eTP=Local", "pod", "node port", "L"),
    ("eTP=Local", "pod", "VIP", "L"),
    ("eTP=Local", "node", "ClusterIP", "L+R"),
    ("eTP=Local", "outside", "ClusterIP", "L+R"),
    ("iTP=Local", "node", "ClusterIP", "L"),
    ("iTP=Local", "outside", "ClusterIP", "L"),
];

/// The differences with `--masquerade-all`: connections of pods to ClusterIPs are masqueraded, too.
pub const MASQUERADE_ALL: [Cell; 3] = [
    ("default", "pod", "ClusterIP", "L+R SNAT"),
    ("eTP=Local", "pod", "ClusterIP", "L+R SNAT"),
    ("iTP=Local", "pod", "ClusterIP", "L SNAT"),
];

/// The next unused source port, since masquerading changes the port.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

/// Sends one probe; returns the endpoint that answered, and whether it saw another source than the client's own.
fn one(
    client: &Client,
    own: IpAddr,
    protocol: Protocol,
    target: SocketAddr,
) -> Result<(String, bool), Answer> {
    let source = SocketAddr::new(own, NEXT_PORT.fetch_add(1, Ordering::Relaxed));
    match client.from(source).probe(protocol, target) {
        Answer::Served { server, seen } => Ok((server, seen != source)),
        other => Err(other),
    }
}

/// The majority of eleven probes.
const MOST: u32 = 6;

/// Returns the outcome for a client: the endpoints, and whether they saw another source than its own.
fn met(client: &Client, own: IpAddr, target: SocketAddr) -> String {
    let (mut endpoints, mut masqueraded) = (BTreeSet::new(), BTreeSet::new());
    for i in 0..8 {
        let protocol = if i % 2 == 0 { Protocol::Tcp } else { Protocol::Udp };
        // The majority of eleven probes decides. The kernel changes a source port that a masqueraded connection of the
        // node already has, about one in a few hundred, although nothing is masqueraded; and the random port of a
        // masqueraded connection may be its original one.
        let mut tally = [0, 0];
        while tally.iter().all(|times| *times < MOST) {
            match one(client, own, protocol, target) {
                Ok((server, changed)) => {
                    endpoints.insert(if server == "web-1" { "L" } else { "R" });
                    tally[usize::from(changed)] += 1;
                }
                Err(other) => return other.to_string(),
            }
        }
        masqueraded.insert(tally[1] >= MOST);
    }
    let snat: Vec<_> = masqueraded.iter().map(|yes| if *yes { " SNAT" } else { "" }).collect();
    format!("{}{}", endpoints.into_iter().collect::<Vec<_>>().join("+"), snat.join(" or"))
}

fn holds(arguments: &[&str], changes: &[&[Cell]]) {
    holds_in(Scene::new(), arguments, changes);
}

pub fn holds_in(mut scene: Scene, arguments: &[&str], changes: &[&[Cell]]) {
    let [one, two, _] = scene.web_pods();
    scene.lab.route_external_through(&scene.lab.node_a).unwrap();
    // The answers to connections that are not masqueraded go to the client itself, and must pass node-a again.
    let back = scene.lab.node_a.inside();
    let routes =
        format!("route add 203.0.113.0/24 via {}\nroute add 2001:db8:2::/64 via {}\n", back.v4, back.v6);
    scene.lab.node_b.namespace().ip(&routes).unwrap();
    let [default, external, internal] = [1, 2, 3].map(|n| exposed(&scene, n));
    let external = external.with("/spec/externalTrafficPolicy", "Local");
    let internal = internal.with("/spec/internalTrafficPolicy", "Local");
    for (n, service) in [(1, default), (2, external), (3, internal)] {
        put(&scene, n, &service, &ready(&[&one, &two]));
    }
    scene.run_with(arguments);
    let [pod, node, outside] = scene.everywhere();
    let mut differences = Vec::new();
    for cell in &WITH_DETECTOR {
        let cell = changes.iter().copied().flatten().fold(cell, |cell, change| {
            if (cell.0, cell.1, cell.2) == (change.0, change.1, change.2) { change } else { cell }
        });
        let (policy, source, destination, expected) = *cell;
        for family in Family::BOTH {
            let (client, own) = match source {
                "pod" => (&pod, scene.shell.address()),
                "node" => (&node, scene.lab.node_a.outside()),
                _ => (&outside, scene.lab.client_address()),
            };
            let n = ["default", "eTP=Local", "iTP=Local"].iter().position(|name| *name == policy).unwrap();
            let targets = targets(&scene, n as u8 + 1, family);
            let (_, target) = targets.iter().find(|(kind, _)| *kind == destination).unwrap();
            let met = met(client, own.of(family), *target);
            if met != expected {
                differences
                    .push(format!("{policy}: {source} → {destination}, {family}: {met}, not {expected}"));
            }
        }
    }
    assert!(differences.is_empty(), "{arguments:?}\n{}", differences.join("\n"));
}

#[test]
fn all_cells_with_a_detector() {
    holds(&["--cluster-cidr", CLUSTER_CIDR], &[]);
}

#[test]
fn all_cells_without_a_detector() {
    holds(&[], &[&WITHOUT_DETECTOR]);
}

#[test]
fn all_cells_with_masquerade_all() {
    holds(&["--cluster-cidr", CLUSTER_CIDR, "--masquerade-all"], &[&MASQUERADE_ALL]);
}

/// All connections to a ClusterIP are masqueraded; external addresses behave as without a detector.
#[test]
fn all_cells_with_masquerade_all_and_without_a_detector() {
    let all_masqueraded: Vec<Cell> = WITH_DETECTOR
        .iter()
        .filter(|cell| cell.2 == "ClusterIP")
        .map(|cell| {
            let what = if cell.0 == "iTP=Local" { "L SNAT" } else { "L+R SNAT" };
            (cell.0, cell.1, cell.2, what)
        })
        .collect();
    holds(&["--masquerade-all"], &[&WITHOUT_DETECTOR, &all_masqueraded]);
}

/// Other ways to recognise pods, and another masquerade bit: the same 27 cells (§6, §10).
#[test]
fn all_cells_with_pods_known_by_the_node_s_networks() {
    holds(&["--detect-local-mode", "NodeCIDR"], &[]);
}

#[test]
fn all_cells_with_pods_known_by_their_interfaces_and_another_masquerade_bit() {
    let by_interface = ["--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "pod"];
    holds(&[&by_interface[..], &["--masquerade-bit", "0"]].concat(), &[]);
}
