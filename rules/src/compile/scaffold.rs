//! What does not depend on the Services: chains that dispatch, the declarations of sets and maps.

use ipnetwork::IpNetwork;

use crate::ruleset::{
    BaseChain, BitOp, Chain, ChainType, DataType, Expression, Family, Field, Hook, MatchValue, Name, Rule,
    Set, Statement, WritableField,
};

/// Names of the chains that always exist.
pub mod chains {
    /// Finds the frontend's class and goes to its chain.
    pub const SERVICES: &str = "services";
    /// Refuses.
    pub const NO_ENDPOINTS: &str = "no-endpoints";
    /// Rewrites the destination to the endpoint at the drawn slot of a frontend with an address.
    pub const SEND: &str = "send";
    /// The same for a node port.
    pub const SEND_NODE_PORT: &str = "send-node-port";
    /// Hook of packets that arrive.
    pub const PREROUTING: &str = "prerouting";
    /// Hook of packets that this node sends.
    pub const OUTPUT: &str = "output";
    /// Hook of packets that leave.
    pub const POSTROUTING: &str = "postrouting";
}

/// Bit of a slot number that tells the slots of policy `Local` from those of policy `Cluster`.
pub const LOCAL_SLOTS: u32 = 1 << 31;

/// Settings that the rules depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the tables.
    pub table: Name,
    /// Where pods have their addresses (`--cluster-cidr`), at most one network a family.
    pub cluster_cidrs: Vec<IpNetwork>,
    /// Masquerade every connection to a ClusterIP (`--masquerade-all`).
    pub masquerade_all: bool,
    /// Bit of the packet mark that asks for masquerading (`masqueradeBit`), 0 to 31.
    pub masquerade_bit: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            table: "portolan".into(),
            cluster_cidrs: Vec::new(),
            masquerade_all: false,
            masquerade_bit: 14,
        }
    }
}

impl Config {
    /// The mark with only the masquerade bit set.
    pub const fn masquerade_mark(&self) -> u32 {
        1 << (self.masquerade_bit & 31)
    }
}

/// The sets and maps of each table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetName {
    /// Map: destination address, protocol, port → class.
    Frontends,
    /// Map: destination address, protocol, port, slot → endpoint.
    Endpoints,
    /// Map: protocol, node port → class.
    NodePorts,
    /// Map: protocol, node port, slot → endpoint.
    NodeEndpoints,
    /// Verdict map: class → chain.
    Classes,
    /// Set: every ClusterIP.
    ClusterIps,
    /// Set: the node's addresses that answer node ports.
    NodeAddresses,
    /// Set: address of each endpoint on this node, twice: source and destination of a hairpin connection.
    Hairpin,
}

impl SetName {
    /// All sets and maps, in the order in which they are declared.
    pub const ALL: [Self; 8] = [
        Self::Frontends,
        Self::Endpoints,
        Self::NodePorts,
        Self::NodeEndpoints,
        Self::Classes,
        Self::ClusterIps,
        Self::NodeAddresses,
        Self::Hairpin,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frontends => "frontends",
            Self::Endpoints => "endpoints",
            Self::NodePorts => "node-ports",
            Self::NodeEndpoints => "node-endpoints",
            Self::Classes => "classes",
            Self::ClusterIps => "cluster-ips",
            Self::NodeAddresses => "node-addresses",
            Self::Hairpin => "hairpin",
        }
    }

    /// The set of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// The declaration, without elements.
    pub fn declaration(self, family: Family, size: u32) -> Set {
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
            Self::Classes => Set::verdict_map(name, &[ClassId]),
            Self::ClusterIps | Self::NodeAddresses => Set::new(name, &[address]),
            Self::Hairpin => Set::new(name, &[address, address]),
        };
        set.with_size(size)
    }
}

/// The size to declare for so many elements: room to grow by half, so that it is outgrown rarely, and a
/// power of two, so that the same state seldom declares another size.
pub fn size_for(elements: u32) -> u32 {
    elements.saturating_add(elements / 2).max(1024).checked_next_power_of_two().unwrap_or(u32::MAX)
}

/// The chains that always exist, without those of the classes, in the order of a packet's way.
pub fn constant_chains(config: &Config, family: Family) -> Vec<Chain> {
    let nat = |hook, priority| BaseChain { chain_type: ChainType::Nat, hook, priority };
    let jump_services = || vec![Rule::new([Statement::jump(chains::SERVICES)])];
    vec![
        Chain::base(chains::PREROUTING, nat(Hook::Prerouting, -100), jump_services()),
        Chain::base(chains::OUTPUT, nat(Hook::Output, -100), jump_services()),
        Chain::base(chains::POSTROUTING, nat(Hook::Postrouting, 100), postrouting(config)),
        Chain::regular(chains::SERVICES, services()),
        Chain::regular(chains::SEND, send(family, &address_key(), SetName::Endpoints)),
        Chain::regular(chains::SEND_NODE_PORT, send(family, &node_port_key(), SetName::NodeEndpoints)),
    ]
}

fn address_key() -> Vec<Expression> {
    [Field::DestinationAddress, Field::L4Proto, Field::DestinationPort].map(Expression::from).into()
}

fn node_port_key() -> Vec<Expression> {
    [Field::L4Proto, Field::DestinationPort].map(Expression::from).into()
}

/// `meta priority set KEY map @map meta priority vmap @classes`: no frontend, no effect.
fn dispatch(key: Vec<Expression>, map: SetName) -> [Statement; 2] {
    let class = Expression::Concat(key).lookup(map.name());
    [
        Statement::set(WritableField::Priority, class),
        Statement::VerdictMap { key: Field::Priority.into(), map: SetName::Classes.name().into() },
    ]
}

fn services() -> Vec<Rule> {
    let mut node_port = vec![Statement::in_set(Field::DestinationAddress, SetName::NodeAddresses.name())];
    node_port.extend(dispatch(node_port_key(), SetName::NodePorts));
    vec![
        Rule::new(dispatch(address_key(), SetName::Frontends)),
        // No frontend of this ClusterIP has that port: refuse rather than let it wander off.
        Rule::new([
            Statement::in_set(Field::DestinationAddress, SetName::ClusterIps.name()),
            Statement::goto(chains::NO_ENDPOINTS),
        ]),
        Rule::new(node_port),
    ]
}

/// A packet that found its class before a change and its slot after it may miss. Slot 0 of the same
/// policy exists as long as there is any endpoint; if that is gone too, so is the last endpoint.
fn send(family: Family, key: &[Expression], map: SetName) -> Vec<Rule> {
    let mut key = key.to_vec();
    key.push(Field::Priority.into());
    // nft takes a port from a map only after a match on the transport protocol; this one is the
    // cheapest and holds for every frontend.
    let icmp = match family {
        Family::Ip => 1,
        Family::Ip6 => 58,
    };
    let dnat = Rule::new([
        Statement::not_equal(Field::L4Proto, MatchValue::Proto(icmp)),
        Statement::Dnat { key: Expression::Concat(key), map: map.name().into() },
    ]);
    let first_slot = Expression::from(Field::Priority).bitwise(BitOp::And, LOCAL_SLOTS);
    vec![
        dnat.clone(),
        Rule::new([Statement::set(WritableField::Priority, first_slot)]),
        dnat,
        Rule::new([Statement::goto(chains::NO_ENDPOINTS)]),
    ]
}

fn postrouting(config: &Config) -> Vec<Rule> {
    let dnat = || Statement::equal(Field::ConntrackStatus, MatchValue::Dnat);
    let bit = config.masquerade_mark();
    let mark = |op| Expression::from(Field::Mark).bitwise(op, bit);
    vec![
        // The scratch field has done its work; queueing disciplines must not see it.
        Rule::new([dnat(), Statement::set(WritableField::Priority, Expression::Constant(0))]),
        Rule::new([
            Statement::equal(mark(BitOp::And), MatchValue::Number(bit)),
            Statement::set(WritableField::Mark, mark(BitOp::Xor)),
            Statement::Masquerade,
        ]),
        Rule::new([
            dnat(),
            Statement::in_set(
                Expression::fields(&[Field::SourceAddress, Field::DestinationAddress]),
                SetName::Hairpin.name(),
            ),
            Statement::Masquerade,
        ]),
    ]
}
