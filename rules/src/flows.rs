//! UDP flows that connection tracking keeps where they should no longer go.
//!
//! NAT decides about the first packet of a flow only. A UDP client that goes on sending from one port keeps
//! its flow, and with it an endpoint that may be gone. TCP and SCTP need no help: their connections end by
//! themselves, and those to an endpoint that drains must not be cut.
//!
//! The compiler says which destinations changed hands, this module which flows to them are stale, and
//! nobody removes anything else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    compile::{FrontendKey, SetName},
    model::Protocol,
    ruleset::{Concat, Ruleset, Table, Value},
};

/// The endpoints that serve a ServicePort, sorted: those that are ready or serving, whatever policy,
/// topology or termination make of them for new flows.
pub type Serving = Arc<[SocketAddr]>;

/// Some UDP destinations, each with the endpoints that may answer the flows to it; `None` stands for a
/// destination that is nobody's frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(BTreeMap<SocketAddr, Option<Serving>>);

impl Flows {
    /// The destinations, in order.
    pub fn destinations(&self) -> impl ExactSizeIterator<Item = SocketAddr> {
        self.0.keys().copied()
    }

    /// Forgets the destinations that are nobody's frontend.
    pub fn retain_frontends(&mut self) {
        self.0.retain(|_, serving| serving.is_some());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a flow is stale that was sent to `destination` and is answered from `source`. Where the two
    /// are equal, nobody translated it: that is stale at a frontend, and right where there is none.
    pub fn is_stale(&self, destination: SocketAddr, source: SocketAddr) -> bool {
        match self.0.get(&destination) {
            None => false,
            Some(None) => source != destination,
            Some(Some(serving)) => serving.binary_search(&source).is_err(),
        }
    }
}

impl FromIterator<(SocketAddr, Option<Serving>)> for Flows {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, Option<Serving>)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(at, serving)| (at, serving.map(sorted))).collect())
    }
}

fn sorted(serving: Serving) -> Serving {
    if serving.is_sorted() {
        return serving;
    }
    let mut list = serving.to_vec();
    list.sort_unstable();
    list.into()
}

/// All UDP destinations that a ruleset answers: addresses of Services, and node ports on each of the node's
/// addresses.
pub fn destinations(ruleset: &Ruleset) -> BTreeSet<SocketAddr> {
    let mut destinations = BTreeSet::new();
    for (family, table) in &ruleset.tables {
        let frontends =
            |set| keys(table, set).filter_map(|values| FrontendKey::from_values(*family, &values));
        let addresses: Vec<IpAddr> =
            keys(table, SetName::NodeAddresses).filter_map(|v| address(&v)).collect();
        for frontend in frontends(SetName::Frontends).chain(frontends(SetName::NodePorts)) {
            destinations.extend(udp_destinations(frontend, &addresses));
        }
    }
    destinations
}

/// The destinations of a frontend if it is a UDP one, given the node's addresses that answer node ports.
pub fn udp_destinations<'a>(
    frontend: FrontendKey,
    node_addresses: impl IntoIterator<Item = &'a IpAddr, IntoIter: 'a>,
) -> Box<dyn Iterator<Item = SocketAddr> + 'a> {
    match frontend {
        FrontendKey::Address(address, Protocol::Udp, port) => {
            Box::new(std::iter::once(SocketAddr::new(address, port)))
        }
        FrontendKey::NodePort(family, Protocol::Udp, port) => {
            let own = move |address: &&IpAddr| crate::ruleset::Family::of(**address) == family;
            Box::new(
                node_addresses.into_iter().filter(own).map(move |address| SocketAddr::new(*address, port)),
            )
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn keys(table: &Table, set: SetName) -> impl Iterator<Item = Vec<Value>> {
    let set = table.sets.get(set.name());
    set.into_iter().flat_map(|set| {
        let values = |key: &Concat| Some(key.values(&set.key)?.to_vec());
        set.elements.keys().filter_map(values)
    })
}

fn address(values: &[Value]) -> Option<IpAddr> {
    match *values {
        [Value::Ipv4(address)] => Some(address.into()),
        [Value::Ipv6(address)] => Some(address.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn flows(serving: Option<&[&str]>) -> Flows {
        let serving = serving.map(|list| list.iter().map(|text| at(text)).collect());
        [(at("10.96.0.1:53"), serving)].into_iter().collect()
    }

    #[test]
    fn a_flow_to_an_endpoint_that_serves_is_never_stale() {
        // Not in order: the order must not matter.
        let flows = flows(Some(&["10.0.0.2:53", "10.0.0.1:53"]));
        for source in ["10.0.0.1:53", "10.0.0.2:53"] {
            assert!(!flows.is_stale(at("10.96.0.1:53"), at(source)));
        }
        for source in ["10.0.0.3:53", "10.0.0.1:5353"] {
            assert!(flows.is_stale(at("10.96.0.1:53"), at(source)), "{source}");
        }
    }

    #[test]
    fn an_untranslated_flow_is_stale_where_there_is_a_frontend() {
        let to_itself = (at("10.96.0.1:53"), at("10.96.0.1:53"));
        assert!(flows(Some(&["10.0.0.1:53"])).is_stale(to_itself.0, to_itself.1));
        assert!(flows(Some(&[])).is_stale(to_itself.0, to_itself.1), "it is to be refused");
        assert!(!flows(None).is_stale(to_itself.0, to_itself.1), "whoever has the address now gets it");
    }

    #[test]
    fn a_translated_flow_to_nobodys_frontend_is_stale() {
        assert!(flows(None).is_stale(at("10.96.0.1:53"), at("10.0.0.1:53")));
    }

    #[test]
    fn flows_to_other_destinations_are_nobodys_business() {
        let flows = flows(Some(&[]));
        for destination in ["10.96.0.2:53", "10.96.0.1:54", "[fd00::1]:53"] {
            assert!(!flows.is_stale(at(destination), at("10.0.0.1:53")), "{destination}");
        }
    }
}
