//! Admission: how much a Service may cost a node, and how a Service that asks for more is served.
//!
//! A user who may create Services must not be able to stop a node. Ordinary Services are far below these bounds.
//! A Service beyond them is served as far as it fits (a smaller hash table, coarser weights, a longer timeout). What
//! still does not fit is left out, the same on every node, and one warning names the field.
//!
//! Everything here is a pure function of the Service and the numbers of its endpoints. Messages contain no numbers that
//! change with every endpoint, so that a warning is given once, not at each change.

use std::sync::Arc;

use super::problem::Problem;
use crate::{
    model::{LoadBalancing, Service},
    placement::maglev,
    selection::session_affinity,
};

/// Maximum number of slots of a Service, over all its ports, frontends and families. A slot is an element that leads to
/// an endpoint; with session affinity it is two elements.
pub const MOST_SLOTS: usize = 65_536;
/// Maximum number of frontends of a Service, over both families.
pub const MOST_FRONTENDS: usize = 65_536;
/// Maximum number of ports of a Service: a port with a node port has at least two frontends in each family.
pub const MOST_PORTS: usize = MOST_FRONTENDS / 4;
/// Maximum number of source ranges of a Service in one family, times the number of frontends that they guard.
pub const MOST_RANGES: usize = 8_192;
/// Maximum number of slots of one list of endpoints: a class counts them with 16 bits.
const MOST_LISTED: usize = u16::MAX as usize;

/// The Service as it is served: unchanged, unless it has more ports or addresses than a Service may have.
pub fn admitted(service: &Arc<Service>) -> Arc<Service> {
    let ports = service.ports.len().min(MOST_PORTS);
    let addresses = most_addresses(ports);
    if ports == service.ports.len() && addresses >= external_addresses(service) {
        return service.clone();
    }
    let mut admitted = Service::clone(service);
    admitted.ports.truncate(ports);
    admitted.load_balancer_ips.truncate(addresses);
    admitted.external_ips.truncate(addresses - admitted.load_balancer_ips.len());
    admitted.into()
}

/// Maximum number of external addresses of a Service with this number of ports, so that it does not have too many
/// frontends.
pub const fn most_addresses(ports: usize) -> usize {
    let of_port = MOST_FRONTENDS / if ports == 0 { 1 } else { ports };
    of_port.saturating_sub(4)
}

fn external_addresses(service: &Service) -> usize {
    service.load_balancer_ips.len() + service.external_ips.len()
}

/// The problems of a Service that asks for more than it may have, regardless of its endpoints.
pub fn problems(service: &Service) -> Vec<Problem> {
    let mut problems = Vec::new();
    if service.ports.len() > MOST_PORTS {
        let message = format!("spec.ports: more than {MOST_PORTS}; the rest are not served");
        problems.push(Problem::error(service, message));
    }
    let most = most_addresses(service.ports.len().min(MOST_PORTS));
    if external_addresses(service) > most {
        let field = if service.load_balancer_ips.len() > most {
            "status.loadBalancer.ingress"
        } else {
            "spec.externalIPs"
        };
        let message = format!(
            "{field}: all ports at all addresses are more than {MOST_FRONTENDS} frontends; only the first \
             {most} addresses are served"
        );
        problems.push(Problem::error(service, message));
    }
    if let Some((asked, timeout)) = service.affinity_timeout.zip(session_affinity::timeout(service))
        && timeout != asked
    {
        let message = format!(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {asked} is rounded up to {timeout} seconds"
        );
        problems.push(Problem::notice(service, message));
    }
    problems
}

/// The problem of a Service with more source ranges than it may have.
pub fn too_many_ranges(service: &Service) -> Problem {
    let message = format!(
        "spec.loadBalancerSourceRanges: more than {MOST_RANGES} ranges over all ports and addresses; clients in \
         further ranges are not admitted"
    );
    Problem::error(service, message)
}

/// Maximum number of source ranges of a Service, if they guard this number of frontends.
pub const fn most_ranges(frontends: usize) -> usize {
    MOST_RANGES / if frontends == 0 { 1 } else { frontends }
}

/// The number of slots that a list of endpoints asks for, and the number of frontends that have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Number of slots at each of the frontends.
    pub slots: usize,
    /// Number of frontends.
    pub frontends: usize,
}

impl Demand {
    /// The demand of endpoints whose weights add up to this number of slots.
    pub fn new(slots: usize, frontends: usize, balancing: LoadBalancing) -> Self {
        let slots = match balancing {
            LoadBalancing::SourceHash if slots > 0 => maglev::table_size(slots).into(),
            _ => slots,
        };
        Self { slots, frontends }
    }
}

/// Maximum number of slots of each list of endpoints of a Service, so that all fit: small lists get what they ask for,
/// and large lists get equal shares.
pub fn most_slots(mut demands: Vec<Demand>) -> usize {
    demands.retain(|demand| demand.frontends > 0);
    demands.sort_unstable_by_key(|demand| demand.slots);
    let mut slots_left = MOST_SLOTS;
    let mut frontends_left: usize = demands.iter().map(|demand| demand.frontends).sum();
    for Demand { slots, frontends } in demands {
        let each = slots_left / frontends_left;
        if slots > each {
            return each.min(MOST_LISTED);
        }
        slots_left -= slots * frontends;
        frontends_left -= frontends;
    }
    MOST_LISTED
}

/// The problem of a Service whose endpoints have fewer slots than they ask for.
pub fn too_many_slots(service: &Service, is_left_out: bool) -> Problem {
    let all = format!("all endpoints at all ports and addresses are more than {MOST_SLOTS} slots");
    if is_left_out {
        let message = format!("spec.ports: {all}; for some ports, only the first endpoints are used");
        Problem::error(service, message)
    } else if service.load_balancing == LoadBalancing::SourceHash {
        let field = "metadata.annotations[portolan.io/load-balancing]";
        Problem::notice(service, format!("{field}: {all}; tables are smaller, and shares less even"))
    } else {
        let field = "metadata.annotations[portolan.io/weights] of its EndpointSlices";
        Problem::notice(service, format!("{field}: {all}; weights are coarser"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{ObjectName, Protocol, ServicePort};

    fn service(ports: usize, external: usize) -> Arc<Service> {
        let port = |n: usize| ServicePort {
            name: n.to_string().into(),
            protocol: Protocol::Tcp,
            port: n as u16,
            node_port: Some(n as u16),
        };
        let address = |n: usize| [10, (n >> 16) as u8, (n >> 8) as u8, n as u8].into();
        let name = ObjectName::new("default", "web");
        let cluster_ips = vec![[10, 96, 0, 1].into(), "fd00::1".parse().unwrap()];
        let service = Service::cluster_ip(name, cluster_ips, (0..ports).map(port).collect());
        Service { external_ips: (0..external).map(address).collect(), ..service }.into()
    }

    #[test]
    fn an_ordinary_service_is_admitted_as_it_is() {
        for (ports, external) in [(0, 0), (1, 1000), (30, 100), (4_000, 10), (8_000, 3)] {
            let service = service(ports, external);
            assert!(Arc::ptr_eq(&admitted(&service), &service));
            assert_eq!(problems(&service), []);
        }
        let slots = |slots, frontends| Demand { slots, frontends };
        for demands in [vec![slots(10_000, 3)], vec![slots(10_000, 3); 2], vec![slots(5, 2); 4_000]] {
            assert_eq!(most_slots(demands), MOST_LISTED);
        }
        assert_eq!(most_ranges(4), 2048);
    }

    #[test]
    fn a_service_has_so_many_frontends_and_no_more() {
        for (ports, external) in [(1, 70_000), (100, 5_000), (10_000, 10), (70_000, 2)] {
            let service = service(ports, external);
            let admitted = admitted(&service);
            let frontends = admitted.ports.len() * (4 + external_addresses(&admitted));
            assert!((MOST_FRONTENDS / 2..=MOST_FRONTENDS).contains(&frontends), "{ports}: {frontends}");
            assert!(!problems(&service).is_empty());
        }
    }

    proptest! {
        #[test]
        fn slots_are_used_and_not_exceeded(demands in vec((0usize..70_000, 0usize..40), 0..40)) {
            let demands: Vec<_> =
                demands.into_iter().map(|(slots, frontends)| Demand { slots, frontends }).collect();
            let most = most_slots(demands.clone());
            let sum = |most: usize| -> usize { demands.iter().map(|d| d.slots.min(most) * d.frontends).sum() };
            prop_assert!(sum(most) <= MOST_SLOTS && most <= MOST_LISTED);
            prop_assert!(most == MOST_LISTED || sum(most + 1) > MOST_SLOTS, "no slot is left over");
        }
    }
}
