//! The chains of `sessionAffinity`: they remember each client's endpoint, and lead the client there again.

use super::{
    chains,
    keys::{ENDPOINT_MASK, Keys, LOCAL_SLOTS, PORT_MASK, attribute},
    sets::SetName,
};
use crate::ruleset::{
    BitOp, Chain, Expression, Family, Field, MatchValue, Name, Rule, Statement, Verdict, WritableField,
};

/// Names of the chains that all classes with session affinity share.
mod shared {
    /// Finds the endpoint id that a client is remembered with, given the port number of the ServicePort.
    pub const KNOWN: &str = "affinity-known";
    /// Prefix of the names of chains that remember clients.
    pub const REMEMBER: &str = "affinity-remember-";
    /// Prefix of the names of chains that remember clients and replace the endpoint id that was remembered before.
    pub const REPLACE: &str = "affinity-replace-";
    /// Finds the endpoint id that the client is remembered with.
    pub const RECALL: &str = "affinity-recall";
    /// Sends to the endpoint with an endpoint id; returns if it is gone.
    pub const SEND: &str = "affinity-send";
    /// The same among the endpoints of policy Local.
    pub const SEND_LOCAL: &str = "affinity-send-local";
    /// Draws an endpoint for a client that is not remembered.
    pub const DRAW: &str = "affinity-draw";
    /// The same among the endpoints of policy Local.
    pub const DRAW_LOCAL: &str = "affinity-draw-local";
    /// Sends to the endpoint at the first slot.
    pub const FALLBACK: &str = "affinity-fallback";
    /// The same among the endpoints of policy Local.
    pub const FALLBACK_LOCAL: &str = "affinity-fallback-local";
}

/// The chain that remembers clients for this number of seconds, for all Services with that timeout.
pub fn remember_chain(timeout: u32) -> Name {
    format!("{}{timeout}", shared::REMEMBER).into()
}

/// The timeout of the chain with this name, if it is one of the [chains of a timeout](remember_chains).
pub fn remembered_by(name: &str) -> Option<u32> {
    let number = name.strip_prefix(shared::REMEMBER).or_else(|| name.strip_prefix(shared::REPLACE))?;
    let timeout: u32 = number.parse().ok()?;
    [remember_chain(timeout), replace_chain(timeout)].iter().any(|chain| **chain == *name).then_some(timeout)
}

/// The rules of session affinity. They take as many steps for a thousand endpoints as for one.
///
/// A class has only jumps, and the rules that read the large maps are in [chains that all classes
/// share](shared_chains), because each rule that binds a map makes the kernel walk it. Each of these chains leaves an
/// endpoint id in the scratch field, or a value that is no endpoint id: then the next two chains do nothing.
pub fn affinity_rules(timeout: u32, keys: Keys, is_local: bool) -> Vec<Rule> {
    let chains = Affinity { keys, is_local };
    let steps = [
        Statement::jump(chains.recall()),
        Statement::jump(remember_chain(timeout)),
        Statement::jump(chains.send()),
        // Not remembered, or the endpoint is gone.
        Statement::jump(chains.draw()),
        Statement::jump(replace_chain(timeout)),
        Statement::jump(chains.send()),
        Statement::goto(chains.fallback()),
    ];
    steps.into_iter().map(|step| Rule::new([step])).collect()
}

/// The chain that remembers clients that may already be remembered with another endpoint.
fn replace_chain(timeout: u32) -> Name {
    format!("{}{timeout}", shared::REPLACE).into()
}

/// The chains of a timeout. They do nothing unless the scratch field holds an endpoint id, with both a port number and
/// an endpoint's own number. Rules that write to the map of clients are here rather than in constant chains, since nft
/// 1.0.6 cannot load such a rule from its own output.
pub fn remember_chains(timeout: u32) -> Vec<Chain> {
    let not_zero = |mask| Statement::not_equal(scratch(BitOp::And, mask), MatchValue::Number(0));
    let (set, data): (Name, _) = (SetName::Affinity.name().into(), Some(Field::Priority.into()));
    let timeout_ms = u64::from(timeout) * 1000;
    let update = Statement::Update { set: set.clone(), key: client(), timeout_ms, data: data.clone() };
    let forget = Statement::Delete { set, key: client(), data };
    let guarded = |statement| Rule::new([not_zero(PORT_MASK), not_zero(ENDPOINT_MASK), statement]);
    let remember = Chain::regular(remember_chain(timeout), vec![guarded(update)]);
    // An update would not change the data of an element.
    let and_remember = Rule::new([Statement::goto(remember_chain(timeout))]);
    vec![remember, Chain::regular(replace_chain(timeout), vec![guarded(forget), and_remember])]
}

/// The chains that all classes with session affinity share. They always exist.
pub fn shared_chains(family: Family) -> Vec<Chain> {
    let mut chains = vec![known_chain()];
    for keys in [Keys::Address, Keys::NodePort] {
        let affinity = Affinity { keys, is_local: false };
        chains.push(Chain::regular(affinity.recall(), recall(keys)));
        chains.push(Chain::regular(affinity.send(), vec![keys.dnat(family)]));
        let local = Affinity { keys, is_local: true };
        let mark = Statement::set(WritableField::Priority, scratch(BitOp::Or, LOCAL_SLOTS));
        let send_local = vec![Rule::new([mark]), Rule::new([Statement::goto(affinity.send())])];
        chains.push(Chain::regular(local.send(), send_local));
        for chain in [affinity, local] {
            chains.push(Chain::regular(chain.draw(), chain.draw_rules()));
            chains.push(Chain::regular(chain.fallback(), chain.fallback_rules()));
        }
    }
    chains
}

/// The chains of session affinity for frontends of one kind of key and one policy.
#[derive(Clone, Copy)]
struct Affinity {
    keys: Keys,
    is_local: bool,
}

impl Affinity {
    fn name(self, cluster: &str, local: &str) -> Name {
        let name = if self.is_local { local } else { cluster };
        match self.keys {
            Keys::Address => name.into(),
            Keys::NodePort => format!("{name}-node-port").into(),
        }
    }

    fn recall(self) -> Name {
        self.name(shared::RECALL, shared::RECALL)
    }

    fn send(self) -> Name {
        self.name(shared::SEND, shared::SEND_LOCAL)
    }

    fn draw(self) -> Name {
        self.name(shared::DRAW, shared::DRAW_LOCAL)
    }

    fn fallback(self) -> Name {
        self.name(shared::FALLBACK, shared::FALLBACK_LOCAL)
    }

    const fn first_slot(self) -> u32 {
        if self.is_local { attribute::LOCAL_SLOTS } else { attribute::SLOTS }
    }

    fn draw_rules(self) -> Vec<Rule> {
        let draw = if self.is_local { attribute::LOCAL_DRAW } else { attribute::DRAW };
        let drawn = Statement::equal(scratch(BitOp::And, PORT_MASK), MatchValue::Number(attribute::SLOTS));
        let back = Statement::Verdict(Verdict::Return);
        let nothing = Statement::set(WritableField::Priority, Expression::Constant(0));
        vec![
            Rule::new([&self.keys.attribute(draw)[..], &[SetName::Draws.to_class()]].concat()),
            // Only a slot is looked up, and only what is found there is used.
            Rule::new([drawn, self.keys.read_attribute(), back]),
            Rule::new([nothing]),
        ]
    }

    /// Between two versions of the Service the drawn slot may be gone; the first slot is the last one to be deleted. An
    /// element that is being replaced may be missing for one lookup, so it is looked up twice.
    fn fallback_rules(self) -> Vec<Rule> {
        let first = || {
            let [set, read] = self.keys.attribute(self.first_slot());
            Rule::new([set, read, Statement::jump(self.send())])
        };
        vec![first(), first(), Rule::new([Statement::goto(chains::NO_ENDPOINTS)])]
    }
}

/// Finds the port number of the ServicePort, then the id of the client's endpoint.
fn recall(keys: Keys) -> Vec<Rule> {
    let [set, read] = keys.attribute(attribute::PORT_NUMBER);
    vec![Rule::new([set, read, Statement::jump(shared::KNOWN)])]
}

/// The chain that finds the id of a client's endpoint, given the port number of the ServicePort in the scratch field.
fn known_chain() -> Chain {
    let client = Expression::fields(&[Field::Priority, Field::SourceAddress]);
    let known = Statement::set(WritableField::Priority, client.lookup(SetName::Affinity.name()));
    Chain::regular(shared::KNOWN, vec![Rule::new([known])])
}

/// Whether a chain does nothing but read or write the map of clients.
pub fn is_of_clients(chain: &str) -> bool {
    chain == shared::KNOWN || [shared::REMEMBER, shared::REPLACE].iter().any(|start| chain.starts_with(start))
}

/// The key of a client in the map of clients, given an endpoint id in the scratch field.
fn client() -> Expression {
    Expression::Concat(vec![scratch(BitOp::And, PORT_MASK), Field::SourceAddress.into()])
}

fn scratch(op: BitOp, number: u32) -> Expression {
    Expression::from(Field::Priority).bitwise(op, number)
}
