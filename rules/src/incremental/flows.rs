//! Stale flows: flows that connection tracking keeps sending to where they should no longer go.
//!
//! NAT decides only for the first packet of a flow. A client that goes on sending from one port keeps its flow, and
//! with it an endpoint that may be gone. This happens to a UDP client, to an SCTP client that connects again, and to a
//! TCP client that reuses a port from which it recently began a connection that was never answered.
//!
//! - **UDP**: a flow may stay with an endpoint that serves. Any other flow is stale, even an untranslated one.
//! - **SCTP**, and **TCP** connections that were never answered: a flow is stale if its endpoint is in no slice any
//!   more. An endpoint that drains is still in a slice. TCP connections that were answered end without intervention.
//!
//! The compiler decides which destinations to examine, and this module decides which flows to them are stale. No other
//! flows are removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    frontends::FrontendKey,
    model::Protocol,
    ruleset::{Family, Ruleset},
    selection::Serving,
};

/// Where flows are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port.
    pub at: SocketAddr,
}

impl Destination {
    /// A destination of a protocol.
    pub const fn new(protocol: Protocol, at: SocketAddr) -> Self {
        Self { protocol, at }
    }

    /// A UDP destination.
    pub const fn udp(at: SocketAddr) -> Self {
        Self::new(Protocol::Udp, at)
    }

    /// The family of its address.
    pub const fn family(&self) -> Family {
        Family::of(self.at.ip())
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.at, self.protocol)
    }
}

/// The destinations at which an update of the rules may have left stale flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// UDP destinations that began or ceased to be a frontend, lost an endpoint, or whose class changed: a packet
    /// that arrived at that moment may have left untranslated. [`crate::compile::Compiler::flows`] returns
    /// the endpoints that may answer there.
    pub udp: BTreeSet<SocketAddr>,
    /// For TCP and SCTP destinations, the endpoints that the slices no longer list, and those that they newly list.
    pub moved: BTreeMap<Destination, Moved>,
}

impl Stale {
    /// The flows to endpoints that were removed.
    pub fn gone(&self) -> Flows {
        let mut flows = Flows::default();
        for (destination, moved) in self.moved.iter().filter(|(_, moved)| !moved.gone.is_empty()) {
            flows.add_gone(*destination, moved.gone.iter().copied());
        }
        flows
    }
}

/// Endpoints that slices no longer list, or that they newly list. Whether they are ready, serve or drain does not
/// matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Endpoints that were listed before and are not listed now, sorted.
    pub gone: Arc<[SocketAddr]>,
    /// Endpoints that are listed now and were not listed before, sorted.
    pub listed: Arc<[SocketAddr]>,
}

impl Moved {
    /// The difference between two sorted lists.
    pub fn between(before: &[SocketAddr], after: &[SocketAddr]) -> Self {
        let without = |list: &[SocketAddr], other: &[SocketAddr]| {
            list.iter().copied().filter(|endpoint| other.binary_search(endpoint).is_err()).collect()
        };
        Self { gone: without(before, after), listed: without(after, before) }
    }

    /// Whether both lists are empty.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.listed.is_empty()
    }
}

/// Destinations, and which flows to each are stale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows(BTreeMap<Destination, Right>);

/// Which flows to a destination are not stale.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Right {
    /// Flows to these endpoints; `None` if the destination is no frontend.
    Serving(Option<Serving>),
    /// Flows to all endpoints except these.
    Beside(BTreeSet<SocketAddr>),
}

impl Flows {
    /// The destinations, in order.
    pub fn destinations(&self) -> impl ExactSizeIterator<Item = Destination> {
        self.0.keys().copied()
    }

    /// Whether there is no destination.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds endpoints that no slice lists any more: flows to `destination` that lead to them are stale.
    pub fn add_gone(&mut self, destination: Destination, gone: impl IntoIterator<Item = SocketAddr>) {
        let right = self.0.entry(destination).or_insert_with(|| Right::Beside(BTreeSet::new()));
        if let Right::Beside(known) = right {
            known.extend(gone);
        }
    }

    /// Adds destinations. For a UDP destination that both have, `newer` takes precedence.
    pub fn extend(&mut self, newer: Self) {
        for (destination, right) in newer.0 {
            match right {
                Right::Beside(gone) => self.add_gone(destination, gone),
                serving @ Right::Serving(_) => drop(self.0.insert(destination, serving)),
            }
        }
    }

    /// Follows an update: flows to endpoints that serve or are listed again are no longer stale.
    /// `serving` returns the endpoints that serve UDP destinations now ([`crate::compile::Compiler::flows`]).
    pub fn follow(&mut self, update: &Stale, serving: impl FnOnce(Vec<SocketAddr>) -> Self) {
        let udp = self.0.iter().filter(|(_, right)| matches!(right, Right::Serving(_)));
        let udp: Vec<SocketAddr> = udp.map(|(destination, _)| destination.at).collect();
        if !udp.is_empty() {
            self.extend(serving(udp));
        }
        let Some((first, last)) = self.0.keys().next().copied().zip(self.0.keys().next_back().copied())
        else {
            return;
        };
        for (destination, moved) in update.moved.range(first..=last) {
            if let Some(Right::Beside(gone)) = self.0.get_mut(destination) {
                for endpoint in &*moved.listed {
                    gone.remove(endpoint);
                }
                if gone.is_empty() {
                    self.0.remove(destination);
                }
            }
        }
    }

    /// Removes and returns the destinations that are not among `owned`, the frontends; for protocols other than UDP
    /// together with the endpoints that were removed.
    pub fn split_off_unowned(
        &mut self,
        owned: &BTreeSet<Destination>,
    ) -> Vec<(Destination, Option<BTreeSet<SocketAddr>>)> {
        let unowned = self.0.extract_if(.., |destination, _| !owned.contains(destination));
        let gone = unowned.map(|(destination, right)| match right {
            Right::Serving(_) => (destination, None),
            Right::Beside(gone) => (destination, Some(gone)),
        });
        gone.collect()
    }

    /// Splits the destinations by protocol.
    pub fn by_protocol(self) -> Vec<(Protocol, Self)> {
        let mut of_each: BTreeMap<Protocol, Self> = BTreeMap::new();
        for (destination, right) in self.0 {
            of_each.entry(destination.protocol).or_default().0.insert(destination, right);
        }
        of_each.into_iter().collect()
    }

    /// Whether a flow that was sent to `destination` and is answered from `source` is stale. If the two are equal, the
    /// flow is untranslated: for UDP this is stale at a frontend, and right elsewhere. For TCP, call this only for
    /// connections that were never answered.
    pub fn is_stale(&self, destination: Destination, source: SocketAddr) -> bool {
        match self.0.get(&destination) {
            None => false,
            Some(Right::Serving(None)) => source != destination.at,
            Some(Right::Serving(Some(serving))) => serving.binary_search(&source).is_err(),
            Some(Right::Beside(gone)) => gone.contains(&source),
        }
    }
}

/// UDP destinations with the endpoints that may answer; `None` for a destination that is no frontend.
impl FromIterator<(SocketAddr, Option<Serving>)> for Flows {
    fn from_iter<I: IntoIterator<Item = (SocketAddr, Option<Serving>)>>(iter: I) -> Self {
        let right = |(at, serving): (SocketAddr, Option<Serving>)| {
            (Destination::udp(at), Right::Serving(serving.map(sorted)))
        };
        Self(iter.into_iter().map(right).collect())
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
    each_frontend(ruleset, |frontend, node_addresses| {
        if frontend.protocol() == Protocol::Udp {
            destinations.extend(destinations_of(frontend, node_addresses).map(|destination| destination.at));
        }
    });
    destinations
}

/// Calls `each` with all frontends of a ruleset, and with the node's addresses of that family that answer node ports.
pub(crate) fn each_frontend(ruleset: &Ruleset, mut each: impl FnMut(FrontendKey, &[IpAddr])) {
    for (family, table) in &ruleset.tables {
        let addresses: Vec<IpAddr> = table.node_addresses().collect();
        table.frontends(*family).for_each(|(frontend, _)| each(frontend, &addresses));
    }
}

/// The destinations of a frontend, given the node's addresses that answer node ports.
pub(crate) fn destinations_of<'a>(
    frontend: FrontendKey,
    node_addresses: impl IntoIterator<Item = &'a IpAddr, IntoIter: 'a>,
) -> Box<dyn Iterator<Item = Destination> + 'a> {
    match frontend {
        FrontendKey::Address(address, protocol, port) => {
            Box::new(std::iter::once(Destination::new(protocol, SocketAddr::new(address, port))))
        }
        FrontendKey::NodePort(family, protocol, port) => {
            let own = move |address: &&IpAddr| Family::of(**address) == family;
            let at = move |address: &IpAddr| Destination::new(protocol, SocketAddr::new(*address, port));
            Box::new(node_addresses.into_iter().filter(own).map(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn udp(text: &str) -> Destination {
        Destination::udp(at(text))
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
            assert!(!flows.is_stale(udp("10.96.0.1:53"), at(source)));
        }
        for source in ["10.0.0.3:53", "10.0.0.1:5353"] {
            assert!(flows.is_stale(udp("10.96.0.1:53"), at(source)), "{source}");
        }
    }

    #[test]
    fn an_untranslated_flow_is_stale_where_there_is_a_frontend() {
        let to_itself = (udp("10.96.0.1:53"), at("10.96.0.1:53"));
        assert!(flows(Some(&["10.0.0.1:53"])).is_stale(to_itself.0, to_itself.1));
        assert!(flows(Some(&[])).is_stale(to_itself.0, to_itself.1), "it is to be refused");
        assert!(!flows(None).is_stale(to_itself.0, to_itself.1), "the present owner of the address gets it");
    }

    #[test]
    fn a_translated_flow_to_what_is_no_frontend_is_stale() {
        assert!(flows(None).is_stale(udp("10.96.0.1:53"), at("10.0.0.1:53")));
    }

    #[test]
    fn flows_to_other_destinations_are_never_stale() {
        let flows = flows(Some(&[]));
        for destination in ["10.96.0.2:53", "10.96.0.1:54", "[fd00::1]:53"] {
            assert!(!flows.is_stale(udp(destination), at("10.0.0.1:53")), "{destination}");
        }
    }

    #[test]
    fn for_other_protocols_only_flows_to_removed_endpoints_are_stale() {
        let sctp = Destination::new(Protocol::Sctp, at("10.96.0.1:53"));
        let mut flows = flows(Some(&["10.0.0.1:53"]));
        flows.add_gone(sctp, [at("10.0.0.1:53")]);
        let mut more = Flows::default();
        more.add_gone(sctp, [at("10.0.0.2:53")]);
        flows.extend(more);
        for (source, stale) in
            [("10.0.0.1:53", true), ("10.0.0.2:53", true), ("10.0.0.3:53", false), ("10.96.0.1:53", false)]
        {
            assert_eq!(flows.is_stale(sctp, at(source)), stale, "{source}");
        }
        assert!(!flows.is_stale(Destination::new(Protocol::Tcp, sctp.at), at("10.0.0.1:53")));
        assert!(!flows.is_stale(udp("10.96.0.1:53"), at("10.0.0.1:53")), "it serves over UDP");
    }
}
