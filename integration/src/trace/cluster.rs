//! Nodes, Deployments and their pods.

use std::{collections::BTreeMap, net::Ipv4Addr};

use fastrand::Rng;

use super::{
    Plan,
    slices::{Listed, Slices},
};

/// Addresses of one node's pods.
const ON_NODE: u32 = 256;
/// The network of all pods.
const PODS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
/// How many zones there are.
pub const ZONES: u32 = 3;

/// The sizes of Deployments: of 1,000, those below the first number have at most the second number of pods. About
/// fifteen on average.
const REPLICAS: [(u32, u32); 5] = [(500, 3), (800, 10), (950, 40), (996, 200), (1_000, 1_000)];

/// A pod. Its number is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub number: u32,
    pub node: u32,
    pub address: Ipv4Addr,
}

/// The condition of a pod in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It is not ready yet, or no longer ready.
    NotReady,
    Ready,
    /// It is terminating, and serves until it has ended.
    Terminating,
}

/// A Service with its Deployment.
#[derive(Debug, Clone)]
pub struct Application {
    /// How many pods the Deployment should have.
    pub replicas: u32,
    /// The pods that have an address, by number.
    pub pods: Listed,
    /// The slices that list them.
    pub slices: Slices,
}

/// The nodes and what runs on them.
#[derive(Debug)]
pub struct Cluster {
    pub rng: Rng,
    nodes: u32,
    /// The number of the next address that each node assigns.
    next_address: Vec<u32>,
    next_pod: u32,
    /// The pods that have an address, with their applications.
    on_node: Vec<BTreeMap<u32, u32>>,
    pub applications: Vec<Application>,
}

impl Cluster {
    pub fn new(plan: &Plan) -> Self {
        let nodes = plan.nodes.max(ZONES);
        let mut cluster = Self {
            rng: Rng::with_seed(plan.seed),
            nodes,
            next_address: vec![0; nodes as usize],
            next_pod: 0,
            on_node: vec![BTreeMap::new(); nodes as usize],
            applications: Vec::new(),
        };
        for _ in 0..plan.services {
            let application = cluster.create();
            for _ in 0..cluster.applications[application as usize].replicas {
                let pod = cluster.pod();
                cluster.place(application, pod);
                cluster.set(application, pod.number, Condition::Ready);
            }
            cluster.applications[application as usize].sync();
        }
        cluster
    }

    /// Creates a Service without pods; returns its number.
    pub fn create(&mut self) -> u32 {
        let drawn = self.rng.u32(0..1_000);
        let class = REPLICAS.iter().position(|(below, _)| drawn < *below).unwrap_or(0);
        let least = class.checked_sub(1).map_or(1, |before| REPLICAS[before].1 + 1);
        let replicas = self.rng.u32(least..=REPLICAS[class].1);
        self.applications.push(Application { replicas, pods: BTreeMap::new(), slices: Slices::default() });
        self.applications.len() as u32 - 1
    }

    /// A new pod on any node.
    pub fn pod(&mut self) -> Pod {
        let node = self.rng.u32(0..self.nodes);
        let host = &mut self.next_address[node as usize];
        // The address that was assigned longest ago is free again: no node has that many pods.
        let address = Ipv4Addr::from(u32::from(PODS) + node * ON_NODE + *host % (ON_NODE - 2) + 1);
        *host += 1;
        let number = self.next_pod;
        self.next_pod += 1;
        Pod { number, node, address }
    }

    /// Notes that a pod has its address; it is not ready yet.
    pub fn place(&mut self, application: u32, pod: Pod) {
        self.applications[application as usize].pods.insert(pod.number, (pod, Condition::NotReady));
        self.on_node[pod.node as usize].insert(pod.number, application);
    }

    /// Sets a pod's condition; returns whether it changed. False if the pod has ended.
    pub fn set(&mut self, application: u32, number: u32, condition: Condition) -> bool {
        let Some((_, is)) = self.applications[application as usize].pods.get_mut(&number) else {
            return false;
        };
        // A terminating pod keeps that condition.
        let is_changed = *is != condition && *is != Condition::Terminating;
        if is_changed {
            *is = condition;
        }
        is_changed
    }

    /// Removes a pod.
    pub fn end(&mut self, application: u32, number: u32) {
        if let Some((pod, _)) = self.applications[application as usize].pods.remove(&number) {
            self.on_node[pod.node as usize].remove(&number);
        }
    }

    /// The nodes of a zone.
    pub fn zone(&self, zone: u32) -> impl Iterator<Item = u32> + use<> {
        (0..self.nodes).filter(move |node| node % ZONES == zone)
    }

    /// The pods on a node, with their applications.
    pub fn pods_on(&self, node: u32) -> Vec<(u32, u32)> {
        self.on_node[node as usize].iter().map(|(pod, application)| (*application, *pod)).collect()
    }

    /// A ready pod of a random Service; `None` if that Service has none.
    pub fn any_ready(&mut self) -> Option<(u32, u32)> {
        let application = self.rng.u32(0..self.applications.len() as u32);
        let pods = &self.applications[application as usize].pods;
        let ready: Vec<u32> = pods
            .iter()
            .filter(|(_, (_, condition))| *condition == Condition::Ready)
            .map(|(number, _)| *number)
            .collect();
        self.rng.choice(ready).map(|pod| (application, pod))
    }
}

impl Application {
    /// Updates the slices as their controller does; returns the slices that it writes.
    pub fn sync(&mut self) -> Vec<(u32, Option<&Listed>)> {
        self.slices.sync(&self.pods)
    }
}
