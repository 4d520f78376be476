//! Compares `trace` with the outcome of a packet: the exit status, the endpoints, and whether they see the client's
//! address.

use std::net::SocketAddr;

use portolan_integration::Answer;
use portolan_rules::{
    compile::Compiler,
    explanation::{Origin, Rules, View, Workloads, trace::Trace},
    model,
    plane::PodDetector,
    ruleset::Ruleset,
    simulate::{Host, Input, Memory},
    state::State,
};

use crate::{cluster::Cluster, probe::Probe};

/// A cluster that `trace` can explain, with the rules in the kernel.
pub struct Explained<'a> {
    cluster: &'a Cluster,
    compiler: Compiler,
    state: State,
    rules: Rules,
    host: Host,
    workloads: Workloads,
}

impl<'a> Explained<'a> {
    pub fn new(cluster: &'a Cluster, rules: Ruleset) -> Self {
        let (compiler, state) = cluster.load(&Ruleset::default(), 0);
        let host = Host { local_addresses: cluster.host.clone() };
        Self { cluster, compiler, state, rules: rules.into(), host, workloads: Workloads::default() }
    }

    /// Returns how `trace` contradicts an answer, if it does. `trace` cannot express a packet from a Pod with another
    /// interface than the one that identifies Pods; then there is no contradiction.
    pub fn contradiction(
        &self,
        probe: &Probe,
        memory: &Memory,
        answer: &Answer,
    ) -> Option<Result<(), String>> {
        let packet = probe.packet();
        let view = View {
            state: &self.state,
            compiler: &self.compiler,
            rules: &self.rules,
            host: &self.host,
            workloads: &self.workloads,
        };
        let protocol = model::Protocol::from_number(packet.protocol)?;
        let to = SocketAddr::new(packet.destination, packet.destination_port);
        let origin = Origin::Address(packet.source);
        if self.is_from_pod(&view.packet(origin, to, packet.protocol).input)
            != self.is_from_pod(&packet.input)
        {
            return None;
        }
        let trace = Trace::remembering(&view, origin, to, protocol, memory);
        let (said, steps) = (trace.answer(), trace.ladder(&view));
        let agrees = trace.reaches() == said.starts_with("reaches ")
            && match answer {
                Answer::Refused { .. } => said == "refused",
                Answer::TimedOut => said == "dropped",
                Answer::Served { server, seen } if trace.reaches() => {
                    let step = steps.iter().find(|step| is_share_of(step, server));
                    let masqueraded = step.is_some_and(|step| step.ends_with(", masqueraded"));
                    let is_said = match said.rsplit("; ").next() {
                        Some("source kept") => !masqueraded,
                        Some("source becomes this node") => masqueraded,
                        Some("source becomes this node for some") => true,
                        _ => false,
                    };
                    let is_first = !said.starts_with("reaches one of ");
                    let is_named = !is_first || said.starts_with(&format!("reaches {server}; "));
                    step.is_some() && is_said && is_named && probe.is_source(self.cluster, *seen, masqueraded)
                }
                Answer::Served { server, .. } => said.starts_with("left alone") && *server == to.to_string(),
                _ => false,
            };
        Some(if agrees {
            Ok(())
        } else {
            Err(format!("{answer}, but trace says {said}\n{}", steps.join("\n")))
        })
    }

    /// Whether the rules consider packets from this input to come from a Pod, as far as the interface decides that.
    fn is_from_pod(&self, input: &Input) -> bool {
        match (&self.cluster.config.pods, input) {
            (_, Input::Local) | (PodDetector::None | PodDetector::Networks(_), _) => false,
            (PodDetector::Interface { name, prefix: true }, Input::Interface(interface)) => {
                interface.starts_with(&**name)
            }
            (PodDetector::Interface { name, prefix: false }, Input::Interface(interface)) => {
                interface == name
            }
        }
    }
}

/// Whether a step reports an endpoint with its share.
fn is_share_of(step: &str, endpoint: &str) -> bool {
    let rest = step.strip_prefix("endpoint ").and_then(|rest| rest.strip_prefix(endpoint));
    let share = rest.and_then(|rest| rest.split_once(": ")).map(|(_, share)| share);
    share.is_some_and(|share| share.starts_with(|letter: char| letter.is_ascii_digit()))
}
