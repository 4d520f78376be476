//! The numbers of Services and ports that lack endpoints, updated as Services change.

use foldhash::HashSet;

use crate::{
    compile::{port::CompiledPort, service::CompiledService},
    ruleset::Family,
    selection::EndpointScope,
};

/// Number of ServicePorts of one family that have endpoints, but none on this node, although a policy requires one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// Under `internalTrafficPolicy: Local`.
    pub internal: u32,
    /// Under `externalTrafficPolicy: Local`.
    pub external: u32,
}

/// The counts, updated as Services change.
#[derive(Clone, Debug, Default)]
pub(super) struct EndpointCounts {
    /// By family.
    pub(super) no_local: [NoLocalEndpoints; Family::ALL.len()],
    /// Number of Services for which [`lacks_endpoints`] is true.
    pub(super) without: u32,
}

impl EndpointCounts {
    /// Notes that a Service was compiled again.
    pub(super) fn account(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        self.changed(before.is_some_and(lacks_endpoints), after.is_some_and(lacks_endpoints));
        // Adds before it subtracts, so that no count falls below zero.
        for (service, add) in [(after, true), (before, false)] {
            for port in service.into_iter().flat_map(|service| &service.ports) {
                let (internal, external) = lacks(port);
                let counts = &mut self.no_local[port.family as usize];
                for (count, lacks) in [(&mut counts.internal, internal), (&mut counts.external, external)] {
                    let change = u32::from(lacks);
                    *count = if add { *count + change } else { count.saturating_sub(change) };
                }
            }
        }
    }

    /// Notes whether a Service lacked endpoints, and whether it does now.
    pub(super) fn changed(&mut self, lacked: bool, lacks: bool) {
        self.without = (self.without + u32::from(lacks)).saturating_sub(u32::from(lacked));
    }
}

/// Whether a Service has a port that has no endpoint of policy Cluster in any family. A port with endpoints of only one
/// family can be used.
pub(super) fn lacks_endpoints(service: &CompiledService) -> bool {
    let is_empty = |port: &&CompiledPort| port.cluster.is_empty();
    if !service.ports.iter().any(|port| is_empty(&port)) {
        return false;
    }
    // Looks up each port once: a Service may have thousands.
    let name = |port: &CompiledPort| (port.name.clone(), port.protocol);
    let served: HashSet<_> = service.ports.iter().filter(|port| !is_empty(port)).map(name).collect();
    service.ports.iter().filter(is_empty).any(|port| !served.contains(&name(port)))
}

/// Whether a port lacks local endpoints under the internal policy, and under the external one.
fn lacks(port: &CompiledPort) -> (bool, bool) {
    if port.cluster.is_empty() || !port.local.is_empty() {
        return (false, false);
    }
    let has = |scope| port.frontends.iter().any(|frontend| frontend.scope == scope);
    (has(EndpointScope::Local), has(EndpointScope::LocalFromOutside))
}
