//! The sets and maps of each table.

use super::config::Config;
use crate::ruleset::{DataType, Family, Field, Set, SetFlags, Statement};

/// Maximum number of clients that are remembered. Further clients are served, but not remembered.
const AFFINITY_CLIENTS: u32 = 1 << 20;

crate::named! {
    /// The sets and maps of each table.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum SetName {
        /// Map: destination address, protocol, port → class.
        Frontends = "frontends",
        /// Map: destination address, protocol, port, slot → endpoint.
        Endpoints = "endpoints",
        /// Map: protocol, node port → class.
        NodePorts = "node-ports",
        /// Map: protocol, node port, slot → endpoint.
        NodeEndpoints = "node-endpoints",
        /// Verdict map: class → chain.
        Classes = "classes",
        /// Verdict map: class that pods and this node are led to under policy Local → chain.
        DirectClasses = "direct-classes",
        /// Verdict map: class of a draw, to which other chains jump → chain.
        Draws = "draws",
        /// Map: frontend and number of an attribute, which only some frontends have → its value.
        Attributes = "attributes",
        /// Map: node port and number of an attribute → its value.
        NodePortAttributes = "node-port-attributes",
        /// Dynamic map: ServicePort with session affinity, client → endpoint id.
        Affinity = "affinity",
        /// Set: frontend, source range that it admits.
        AllowedSources = "allowed-sources",
        /// The same, for frontends whose previous ranges are in the other set.
        OtherAllowedSources = "other-allowed-sources",
        /// Set: every ClusterIP.
        ClusterIps = "cluster-ips",
        /// Set: the networks that ClusterIPs are allocated from.
        ServiceCidrs = "service-cidrs",
        /// Set: the node's addresses that answer node ports.
        NodeAddresses = "node-addresses",
        /// Set: address of each endpoint on this node, twice: source and destination of a hairpin connection.
        Hairpin = "hairpin",
    }
}

/// When an element has to exist, for packets that are under way while changes are committed
/// ([`crate::incremental::plan`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Packets look it up by their own addresses and ports: a change takes effect at once.
    Leader,
    /// Packets look it up if they found nothing else: it is added before the rest changes, and deleted after that.
    Fallback,
    /// Another element or a rule, which is evaluated earlier, leads to it.
    Led,
    /// Rules lead to it, or it is a range that an element leads to: it must exist one transaction before the rule or
    /// element that leads to it.
    Prepared,
}

impl SetName {
    /// When its elements have to exist.
    pub const fn role(self) -> Role {
        match self {
            Self::Frontends | Self::NodePorts | Self::ClusterIps | Self::NodeAddresses => Role::Leader,
            Self::ServiceCidrs => Role::Fallback,
            Self::Endpoints
            | Self::NodeEndpoints
            | Self::Attributes
            | Self::NodePortAttributes
            | Self::Affinity
            | Self::Hairpin => Role::Led,
            Self::Classes
            | Self::DirectClasses
            | Self::Draws
            | Self::AllowedSources
            | Self::OtherAllowedSources => Role::Prepared,
        }
    }

    /// `meta priority vmap @map`: goes to the chain of a class, by one of the maps of classes.
    pub(super) fn to_class(self) -> Statement {
        Statement::VerdictMap { key: Field::Priority.into(), map: self.name().into() }
    }

    /// The declaration, without elements.
    pub fn declaration(self, config: &Config, family: Family, size: u32) -> Set {
        use DataType::{ClassId, InetProto, InetService};
        let address = family.address_type();
        let name = self.name();
        let set = match self {
            Self::Frontends => Set::map(name, &[address, InetProto, InetService], &[ClassId]),
            Self::Endpoints => {
                Set::map(name, &[address, InetProto, InetService, ClassId], &[address, InetService])
            }
            Self::NodePorts => Set::map(name, &[InetProto, InetService], &[ClassId]),
            Self::NodeEndpoints => {
                Set::map(name, &[InetProto, InetService, ClassId], &[address, InetService])
            }
            Self::Classes | Self::DirectClasses | Self::Draws => Set::verdict_map(name, &[ClassId]),
            Self::Attributes => Set::map(name, &[address, InetProto, InetService, ClassId], &[ClassId]),
            Self::NodePortAttributes => Set::map(name, &[InetProto, InetService, ClassId], &[ClassId]),
            Self::ClusterIps | Self::NodeAddresses => Set::new(name, &[address]),
            Self::Hairpin => Set::new(name, &[address, address]),
            // The class comes first: nft 1.0.6 cannot list an update whose key has an IPv6 address before the class.
            Self::Affinity => {
                let dynamic = SetFlags { dynamic: true, timeout: true, ..SetFlags::default() };
                let set = Set::map(name, &[ClassId, address], &[ClassId]);
                return set.with_flags(dynamic).with_size(AFFINITY_CLIENTS);
            }
            // Intervals: a declared size would not make them any faster.
            Self::ServiceCidrs => return intervals(Set::new(name, &[address])),
            Self::AllowedSources | Self::OtherAllowedSources => {
                return intervals(Set::new(name, &[address, InetProto, InetService, address]));
            }
        };
        // Counters of endpoints count what is sent, and those of frontends what is refused without endpoints.
        let is_counted =
            matches!(self, Self::Frontends | Self::NodePorts | Self::Endpoints | Self::NodeEndpoints);
        let set = set.with_size(size);
        if config.endpoint_counters && is_counted { set.with_counter() } else { set }
    }
}

fn intervals(set: Set) -> Set {
    set.with_flags(SetFlags { interval: true, ..SetFlags::default() })
}

/// The size to declare for this number of elements: room to grow by half, so that the set is rarely outgrown, and a
/// power of two, so that the same state seldom declares another size.
pub fn size_for(elements: u32) -> u32 {
    elements.saturating_add(elements / 2).max(1024).checked_next_power_of_two().unwrap_or(u32::MAX)
}
