//! A cluster as one of its nodes sees it, and what the compiled rules do with packets there.

use std::{collections::BTreeSet, collections::HashMap, net::IpAddr, sync::Arc};

use ipnetwork::IpNetwork;
use portolan_rules::{
    compile::Compiler,
    model::{EndpointSlice, Node, Service},
    plane::Config,
    ruleset::Ruleset,
    selection::node_port_addresses::NodePortAddresses,
    simulate::{Fate, Host, Memory, Outcome, Packet, Probability, simulate},
    state::State,
};

/// What may become of a packet, and how likely it is.
pub type Answer = HashMap<Fate, Probability>;

/// The objects of a cluster, and the node and settings of the proxy that reads them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub services: Vec<Service>,
    pub slices: Vec<EndpointSlice>,
    pub node: Node,
    /// The addresses of the node's interfaces.
    pub host: BTreeSet<IpAddr>,
    pub node_port_addresses: NodePortAddresses,
    pub service_cidrs: Vec<IpNetwork>,
    pub config: Config,
}

impl Cluster {
    /// The rules that the compiler makes of it, starting from an empty kernel.
    pub fn compile(&self) -> Ruleset {
        self.load(&Ruleset::default(), 0).0.ruleset()
    }

    /// A compiler that has compiled it over the rules that an earlier compiler left, and that assigns numbers for
    /// session affinity after `number_origin`.
    pub fn load(&self, kernel: &Ruleset, number_origin: u16) -> (Compiler, State) {
        let mut state = State::new(self.node.clone());
        for service in &self.services {
            state.set_service(&service.name, Some(Arc::new(service.clone())));
        }
        for slice in &self.slices {
            state.set_slice(&slice.name, Some(Arc::new(slice.clone())));
        }
        let mut compiler = Compiler::new(self.config.clone());
        let host: Vec<IpAddr> = self.host.iter().copied().collect();
        compiler.set_node_addresses(&self.node_port_addresses.select(&self.node, &host));
        compiler.set_node_ips(&mut state, self.node_ips());
        compiler.set_service_cidrs(&mut state, &self.service_cidrs);
        compiler.set_number_origin(number_origin);
        compiler.load(&mut state, kernel);
        (compiler, state)
    }

    /// The node's own addresses: those of the Node object, else those of its interfaces.
    pub fn node_ips(&self) -> Vec<IpAddr> {
        if self.node.addresses.is_empty() {
            self.host.iter().copied().collect()
        } else {
            self.node.addresses.clone()
        }
    }

    /// What these rules do with a packet at this node.
    pub fn simulate(&self, rules: &Ruleset, packet: &Packet) -> Outcome {
        let host = Host { local_addresses: self.host.clone() };
        simulate(rules, &host, packet, &Memory::new())
    }
}

/// The outcome as an answer. It can be compared only if the simulator understood every rule.
pub fn answer_of(outcome: &Outcome) -> Answer {
    assert!(outcome.cases.iter().all(portolan_rules::simulate::Case::is_certain), "a rule without meaning");
    outcome.fates().into_iter().collect()
}

/// An answer as sorted lines.
pub fn lines(answer: &Answer) -> String {
    let mut lines: Vec<String> = answer.iter().map(|(fate, p)| format!("  {p:>5}  {fate}\n")).collect();
    lines.sort();
    lines.concat()
}
