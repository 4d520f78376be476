//! The chains that dispatch packets. They do not depend on the Services.

use crate::ruleset::{
    BaseChain, BitOp, Chain, ChainType, Expression, Family, Field, Hook, MatchValue, Rule, Statement,
    Verdict, WritableField,
};

use super::{
    chains,
    config::Config,
    keys::{Keys, LOCAL_SLOTS, attribute},
    range_list::RangeList,
    session_affinity::shared_chains,
    sets::SetName,
};

/// The chains that always exist, except those of the classes, in the order in which a packet passes them.
pub fn constant_chains(config: &Config, family: Family) -> Vec<Chain> {
    let nat = |hook, priority| BaseChain { chain_type: ChainType::Nat, hook, priority };
    let jump_services = || vec![Rule::new([Statement::jump(chains::SERVICES)])];
    vec![
        Chain::base(chains::PREROUTING, nat(Hook::Prerouting, -100), jump_services()),
        Chain::base(chains::OUTPUT, nat(Hook::Output, -100), jump_services()),
        Chain::base(chains::POSTROUTING, nat(Hook::Postrouting, 100), postrouting(config)),
        Chain::regular(chains::SERVICES, services()),
        Chain::regular(chains::CLUSTER_IP, cluster_ip()),
        Chain::regular(chains::NODE_PORTS, node_ports()),
        Chain::regular(chains::SHORT_CIRCUIT, short_circuit(Keys::Address)),
        Chain::regular(chains::SHORT_CIRCUIT_NODE_PORT, short_circuit(Keys::NodePort)),
        Chain::regular(chains::SEND, send(Keys::Address, family)),
        Chain::regular(chains::SEND_NODE_PORT, send(Keys::NodePort, family)),
    ]
    .into_iter()
    .chain(shared_chains(family))
    .collect()
}

impl Keys {
    /// The key of the frontend, then `more`.
    pub fn with(self, more: impl IntoIterator<Item = Field>) -> Expression {
        let address = (self == Self::Address).then_some(Field::DestinationAddress);
        let fields = address.into_iter().chain([Field::L4Proto, Field::DestinationPort]).chain(more);
        Expression::Concat(fields.map(Expression::from).collect())
    }

    /// The chain that sends to the endpoint at a slot.
    pub const fn send(self) -> &'static str {
        match self {
            Self::Address => chains::SEND,
            Self::NodePort => chains::SEND_NODE_PORT,
        }
    }

    /// `meta priority set KEY . meta priority map @attributes`.
    pub fn read_attribute(self) -> Statement {
        let value = self.with([Field::Priority]).lookup(self.attributes().name());
        Statement::set(WritableField::Priority, value)
    }

    /// Puts the value of an attribute into the scratch field.
    pub fn attribute(self, number: u32) -> [Statement; 2] {
        let number = Statement::set(WritableField::Priority, Expression::Constant(number));
        [number, self.read_attribute()]
    }

    /// `dnat` to the endpoint at the slot in the scratch field; without effect if there is none.
    pub fn dnat(self, family: Family) -> Rule {
        // nft takes a port from a map only after a match on the transport protocol; this match is the
        // cheapest and holds for every frontend.
        let icmp = match family {
            Family::Ip => 1,
            Family::Ip6 => 58,
        };
        Rule::new([
            Statement::not_equal(Field::L4Proto, MatchValue::Proto(icmp)),
            Statement::Dnat { key: self.with([Field::Priority]), map: self.endpoints().name().into() },
        ])
    }
}

/// `meta priority set KEY map @map meta priority vmap @classes`: without effect if there is no frontend.
fn dispatch(keys: Keys) -> [Statement; 2] {
    let class = keys.with([]).lookup(keys.classes().name());
    [Statement::set(WritableField::Priority, class), SetName::Classes.to_class()]
}

/// A frontend that is found has the attributes that its class reads. In kernels before 6.17 an attribute that is being
/// replaced may be missing for one lookup, so it is read again.
fn short_circuit(keys: Keys) -> Vec<Rule> {
    let mut direct = Vec::from(keys.attribute(attribute::DIRECT));
    direct.push(SetName::DirectClasses.to_class());
    let direct = Rule::new(direct);
    vec![direct.clone(), direct, Rule::new([Statement::goto(chains::NO_ENDPOINTS)])]
}

/// A match on sources in the ranges of the frontend's Service, which are in this list.
pub fn in_source_ranges(list: RangeList) -> Statement {
    Statement::in_set(Keys::Address.with([Field::SourceAddress]), list.set().name())
}

/// Frontends are looked up twice: a frontend that is added while the packet is under way is missing at the first
/// lookup, and in kernels before 6.17 a frontend that is being replaced may be missing for one lookup.
fn services() -> Vec<Rule> {
    let at_cluster_ip = Statement::in_set(Field::DestinationAddress, SetName::ClusterIps.name());
    let at_node = Statement::in_set(Field::DestinationAddress, SetName::NodeAddresses.name());
    vec![
        Rule::new(dispatch(Keys::Address)),
        Rule::new([at_cluster_ip, Statement::goto(chains::CLUSTER_IP)]),
        Rule::new([at_node, Statement::jump(chains::NODE_PORTS)]),
        Rule::new(dispatch(Keys::Address)),
        // A ClusterIP without a Service: dropped, in case a Service is about to get it.
        Rule::new([
            Statement::in_set(Field::DestinationAddress, SetName::ServiceCidrs.name()),
            Statement::Verdict(Verdict::Drop),
        ]),
    ]
}

/// Looks up a node port, unless the address has a frontend at that port; one may become the other.
fn node_ports() -> Vec<Rule> {
    let order = [Keys::Address, Keys::NodePort, Keys::NodePort, Keys::Address];
    order.map(|keys| Rule::new(dispatch(keys))).into()
}

/// Refuses packets to a port that no frontend of this ClusterIP has, rather than routing them.
fn cluster_ip() -> Vec<Rule> {
    vec![Rule::new(dispatch(Keys::Address)), Rule::new([Statement::goto(chains::NO_ENDPOINTS)])]
}

/// The endpoint at a drawn slot exists for as long as packets that were led there are under way. In kernels before 6.17
/// an endpoint that is being replaced may be missing for one lookup; slot 0 of the same policy always exists.
fn send(keys: Keys, family: Family) -> Vec<Rule> {
    let first_slot = Expression::from(Field::Priority).bitwise(BitOp::And, LOCAL_SLOTS);
    vec![
        keys.dnat(family),
        Rule::new([Statement::set(WritableField::Priority, first_slot)]),
        keys.dnat(family),
        Rule::new([Statement::goto(chains::NO_ENDPOINTS)]),
    ]
}

fn postrouting(config: &Config) -> Vec<Rule> {
    let dnat = || Statement::equal(Field::ConntrackStatus, MatchValue::Dnat);
    let bit = config.masquerade_mark();
    let mark = |op| Expression::from(Field::Mark).bitwise(op, bit);
    vec![
        // The scratch field is no longer needed; queueing disciplines must not see it.
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
