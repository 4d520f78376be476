//! How one of the endpoints is picked.

use std::fmt;

use crate::{
    model::LoadBalancing,
    ruleset::{
        BitOp, Chain, Expression, Family, Field, MatchValue, Name, Rule, Statement, Verdict, WritableField,
    },
};

use super::{
    scaffold::{Keys, LOCAL_SLOTS, attribute, chains, to_class},
    sets::SetName,
    sticky::{ENDPOINT_MASK, PORT_MASK},
};

/// How one of the endpoints is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// At random among so many slots; with none of them, the packet is dropped.
    Random(u16),
    /// By a hash of the source address, in a table of this size.
    SourceHash(u16),
    /// The one that the client had before, if its last connection was at most so many seconds ago: a step of
    /// `admission::affinity_timeout`.
    Sticky(u32),
}

impl Pick {
    /// How to pick from endpoints at so many slots, without session affinity; not at all if there is none.
    pub const fn of_slots(slots: usize, balancing: LoadBalancing) -> Option<Self> {
        match (slots as u16, balancing) {
            (0, _) => None,
            (n, LoadBalancing::Random) => Some(Self::Random(n)),
            (n, LoadBalancing::SourceHash) => Some(Self::SourceHash(n)),
        }
    }

    /// Its part of a class's number: the kind in bits 20 and 21, the pick's own number below 16.
    pub const fn id(self) -> u32 {
        match self {
            Self::Random(n) => n as u32,
            Self::SourceHash(size) => 1 << 20 | size as u32,
            // A timeout has 17 bits: its highest is the lowest of the kind.
            Self::Sticky(timeout) => 2 << 20 | (timeout >> 16 & 1) << 20 | timeout & 0xffff,
        }
    }

    /// The pick whose text a chain's name ends in.
    pub fn at_end_of(name: &str) -> Option<Self> {
        let (start, number) = name.rsplit_once('-')?;
        if start.ends_with("-sticky") {
            return number.parse().ok().map(Self::Sticky);
        }
        let number = number.parse().ok()?;
        Some(if start.ends_with("-hash") { Self::SourceHash(number) } else { Self::Random(number) })
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(n) => write!(f, "{n}"),
            Self::SourceHash(size) => write!(f, "hash-{size}"),
            Self::Sticky(timeout) => write!(f, "sticky-{timeout}"),
        }
    }
}

/// Names of the chains that all classes with session affinity share.
mod shared {
    /// Finds the number of the endpoint that a client had before, given the number of the ServicePort.
    pub const KNOWN: &str = "affinity-known";
    /// What the names of the chains begin with that remember clients.
    pub const REMEMBER: &str = "affinity-remember-";
    /// What the names of those begin with that remember clients in the place of what was remembered.
    pub const REPLACE: &str = "affinity-replace-";
    /// Finds the number of the endpoint that the client had before.
    pub const RECALL: &str = "affinity-recall";
    /// Sends to the endpoint of a lasting number; comes back if it is gone.
    pub const SEND: &str = "affinity-send";
    /// The same among the endpoints of policy Local.
    pub const SEND_LOCAL: &str = "affinity-send-local";
    /// Draws an endpoint for a client that has none.
    pub const DRAW: &str = "affinity-draw";
    /// The same among the endpoints of policy Local.
    pub const DRAW_LOCAL: &str = "affinity-draw-local";
    /// Sends to the endpoint at the first slot.
    pub const FALLBACK: &str = "affinity-fallback";
    /// The same among the endpoints of policy Local.
    pub const FALLBACK_LOCAL: &str = "affinity-fallback-local";
}

/// The chain that remembers clients for so many seconds, of all Services with that timeout.
pub fn remember_chain(timeout: u32) -> Name {
    format!("{}{timeout}", shared::REMEMBER).into()
}

/// The timeout of the [chains](remember_chains) of which one has this name.
pub fn remembered_by(name: &str) -> Option<u32> {
    let number = name.strip_prefix(shared::REMEMBER).or_else(|| name.strip_prefix(shared::REPLACE))?;
    let timeout: u32 = number.parse().ok()?;
    [remember_chain(timeout), replace_chain(timeout)].iter().any(|chain| **chain == *name).then_some(timeout)
}

/// The rules of session affinity: as many steps for a thousand endpoints as for one.
///
/// A class has jumps only, and what reads the large maps stands in [chains that all share](shared_chains): each rule
/// that binds a map makes the kernel walk it. Each of these chains leaves the lasting number of an endpoint in the
/// scratch field, or something that is none: then the next two do nothing.
pub fn sticky_rules(timeout: u32, keys: Keys, is_local: bool) -> Vec<Rule> {
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

/// The chain that does so for clients that may be remembered with another endpoint.
fn replace_chain(timeout: u32) -> Name {
    format!("{}{timeout}", shared::REPLACE).into()
}

/// The chains of a timeout. They have no effect on what is no lasting number: that has a ServicePort and an endpoint in
/// it. What writes to the map of clients stands here rather than in chains that are always there, since nft 1.0.6 loads
/// no such rule as it was printed.
pub fn remember_chains(timeout: u32) -> Vec<Chain> {
    let not_zero = |mask| Statement::not_equal(scratch(BitOp::And, mask), MatchValue::Number(0));
    let (set, data): (Name, _) = (SetName::Affinity.name().into(), Some(Field::Priority.into()));
    let timeout_ms = u64::from(timeout) * 1000;
    let update = Statement::Update { set: set.clone(), key: client(), timeout_ms, data: data.clone() };
    let forget = Statement::Delete { set, key: client(), data };
    let guarded = |statement| Rule::new([not_zero(PORT_MASK), not_zero(ENDPOINT_MASK), statement]);
    let remember = Chain::regular(remember_chain(timeout), vec![guarded(update)]);
    // An update would not change what an element says.
    let and_remember = Rule::new([Statement::goto(remember_chain(timeout))]);
    vec![remember, Chain::regular(replace_chain(timeout), vec![guarded(forget), and_remember])]
}

/// The chains that all classes with session affinity share. They exist whatever the Services are.
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

/// What session affinity of some frontends needs.
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
            Rule::new([&self.keys.attribute(draw)[..], &[to_class(SetName::Draws)]].concat()),
            // Only what is a slot is looked up, and only what is found there is used.
            Rule::new([drawn, self.keys.read_attribute(), back]),
            Rule::new([nothing]),
        ]
    }

    /// Between two versions of the Service the drawn slot may be gone; the first one is the last to go. An element
    /// that is replaced may be missing for one lookup: it is looked up twice.
    fn fallback_rules(self) -> Vec<Rule> {
        let first = || {
            let [set, read] = self.keys.attribute(self.first_slot());
            Rule::new([set, read, Statement::jump(self.send())])
        };
        vec![first(), first(), Rule::new([Statement::goto(chains::NO_ENDPOINTS)])]
    }
}

/// Finds the number of the ServicePort, then that of the client's endpoint.
fn recall(keys: Keys) -> Vec<Rule> {
    let [set, read] = keys.attribute(attribute::STICKY);
    vec![Rule::new([set, read, Statement::jump(shared::KNOWN)])]
}

/// The chain that finds the number of a client's endpoint, where the number of the ServicePort is in the scratch field.
fn known_chain() -> Chain {
    let client = Expression::fields(&[Field::Priority, Field::SourceAddress]);
    let known = Statement::set(WritableField::Priority, client.lookup(SetName::Affinity.name()));
    Chain::regular(shared::KNOWN, vec![Rule::new([known])])
}

/// Whether a chain reads or writes what is remembered of clients, and nothing else.
pub fn is_of_clients(chain: &str) -> bool {
    chain == shared::KNOWN || [shared::REMEMBER, shared::REPLACE].iter().any(|start| chain.starts_with(start))
}

/// The key of a client in the map of clients, where a lasting number is in the scratch field.
fn client() -> Expression {
    Expression::Concat(vec![scratch(BitOp::And, PORT_MASK), Field::SourceAddress.into()])
}

fn scratch(op: BitOp, number: u32) -> Expression {
    Expression::from(Field::Priority).bitwise(op, number)
}
