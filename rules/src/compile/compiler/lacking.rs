//! Which ServicePorts ask for endpoints on this node that it does not have, for metrics.

use super::{
    super::{
        port::{CompiledPort, FrontendSlotUse},
        service::CompiledService,
    },
    Compiler,
};
use crate::ruleset::Family;

/// Number of ServicePorts of one family that have endpoints, but none on this node, where a policy asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// Under `internalTrafficPolicy: Local`.
    pub internal: u32,
    /// Under `externalTrafficPolicy: Local`.
    pub external: u32,
}

/// The counts, by family, kept as Services change.
#[derive(Clone, Debug, Default)]
pub(super) struct LackingPorts([NoLocalEndpoints; Family::ALL.len()]);

impl LackingPorts {
    /// Notes that a Service is compiled anew.
    pub(super) fn account(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        // Added before subtracted: no count falls below zero.
        for port in after.into_iter().flat_map(|service| &service.ports) {
            let (internal, external) = lacks(port);
            let counts = &mut self.0[port.family as usize];
            counts.internal += u32::from(internal);
            counts.external += u32::from(external);
        }
        for port in before.into_iter().flat_map(|service| &service.ports) {
            let (internal, external) = lacks(port);
            let counts = &mut self.0[port.family as usize];
            counts.internal = counts.internal.saturating_sub(internal.into());
            counts.external = counts.external.saturating_sub(external.into());
        }
    }
}

/// Whether a port lacks local endpoints inside and outside of the cluster.
fn lacks(port: &CompiledPort) -> (bool, bool) {
    if port.cluster.is_empty() || !port.local.is_empty() {
        return (false, false);
    }
    let uses = |wanted| port.frontends.iter().any(|frontend| frontend.slots == wanted);
    (uses(FrontendSlotUse::Local), uses(FrontendSlotUse::Both))
}

impl Compiler {
    /// The number of Services that are compiled.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// The ServicePorts without local endpoints of each family, in the order of [`Family::ALL`].
    pub fn no_local_endpoints(&self) -> [NoLocalEndpoints; Family::ALL.len()] {
        self.lacking.0
    }
}
