//! What does not depend on the Services: the chains that dispatch.

use crate::ruleset::{
    BaseChain, BitOp, Chain, ChainType, Expression, Family, Field, Hook, MatchValue, Rule, Statement,
    Verdict, WritableField,
};

use super::{config::Config, sets::SetName};

/// Names of the chains that always exist.
pub mod chains {
    /// Finds the frontend's class and goes to its chain.
    pub const SERVICES: &str = "services";
    /// Refuses.
    pub const NO_ENDPOINTS: &str = "no-endpoints";
    /// Drops.
    pub const NO_LOCAL_ENDPOINTS: &str = "no-local-endpoints";
    /// Leads pods and this node past policy Local.
    pub const SHORT_CIRCUIT: &str = "short-circuit";
    /// The same for a node port.
    pub const SHORT_CIRCUIT_NODE_PORT: &str = "short-circuit-node-port";
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

/// The chains that always exist, without those of the classes, in the order of a packet's way.
pub fn constant_chains(config: &Config, family: Family) -> Vec<Chain> {
    let nat = |hook, priority| BaseChain { chain_type: ChainType::Nat, hook, priority };
    let jump_services = || vec![Rule::new([Statement::jump(chains::SERVICES)])];
    vec![
        Chain::base(chains::PREROUTING, nat(Hook::Prerouting, -100), jump_services()),
        Chain::base(chains::OUTPUT, nat(Hook::Output, -100), jump_services()),
        Chain::base(chains::POSTROUTING, nat(Hook::Postrouting, 100), postrouting(config)),
        Chain::regular(chains::SERVICES, services()),
        Chain::regular(
            chains::SHORT_CIRCUIT,
            or_refuse(dispatch(address_key(), SetName::ShortCircuits, SetName::DirectClasses)),
        ),
        Chain::regular(
            chains::SHORT_CIRCUIT_NODE_PORT,
            or_refuse(dispatch(node_port_key(), SetName::NodePortShortCircuits, SetName::DirectClasses)),
        ),
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
fn dispatch(key: Vec<Expression>, map: SetName, classes: SetName) -> [Statement; 2] {
    let class = Expression::Concat(key).lookup(map.name());
    [
        Statement::set(WritableField::Priority, class),
        Statement::VerdictMap { key: Field::Priority.into(), map: classes.name().into() },
    ]
}

/// A frontend that is there has an entry in every map that its class reads, except in the moment
/// between two versions of it.
fn or_refuse(statements: impl Into<Vec<Statement>>) -> Vec<Rule> {
    vec![Rule::new(statements), Rule::new([Statement::goto(chains::NO_ENDPOINTS)])]
}

/// A match on sources in the ranges of the Service that the frontend belongs to.
pub fn in_source_ranges() -> Statement {
    let mut source = address_key();
    source.push(Field::SourceAddress.into());
    Statement::in_set(Expression::Concat(source), SetName::AllowedSources.name())
}

fn services() -> Vec<Rule> {
    let mut node_port = vec![Statement::in_set(Field::DestinationAddress, SetName::NodeAddresses.name())];
    node_port.extend(dispatch(node_port_key(), SetName::NodePorts, SetName::Classes));
    vec![
        Rule::new(dispatch(address_key(), SetName::Frontends, SetName::Classes)),
        // No frontend of this ClusterIP has that port: refuse rather than let it wander off.
        Rule::new([
            Statement::in_set(Field::DestinationAddress, SetName::ClusterIps.name()),
            Statement::goto(chains::NO_ENDPOINTS),
        ]),
        Rule::new(node_port),
        // A ClusterIP that is nobody's: silence, in case it becomes somebody's in a moment.
        Rule::new([
            Statement::in_set(Field::DestinationAddress, SetName::ServiceCidrs.name()),
            Statement::Verdict(Verdict::Drop),
        ]),
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
