//! How one of the endpoints is picked.

use std::fmt;

use crate::{
    model::LoadBalancing,
    ruleset::{BitOp, Chain, Expression, Family, Field, Name, Rule, Statement, WritableField},
};

use super::{
    scaffold::{Keys, LOCAL_SLOTS, attribute, chains, to_class},
    sets::SetName,
    sticky::PORT_MASK,
};

/// How one of the endpoints is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// At random among so many slots; with none of them, the packet is dropped.
    Random(u16),
    /// By a hash of the source address, in a table of this size.
    SourceHash(u16),
    /// The one that the client had before, if its last connection was at most so many seconds ago.
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

/// The rules of session affinity, and the chain `hit` that leads a client to its endpoint.
///
/// As many steps for a thousand endpoints as for one: find the number of the ServicePort, find the client's
/// element, go to the endpoint of its lasting number. A client without an element, or whose endpoint is
/// gone, is drawn anew and remembered.
pub fn sticky_rules(
    timeout: u32,
    keys: Keys,
    is_local: bool,
    family: Family,
    hit: Name,
) -> (Vec<Rule>, Chain) {
    let (draw, first_slot) = if is_local {
        (attribute::LOCAL_DRAW, attribute::LOCAL_SLOTS)
    } else {
        (attribute::DRAW, attribute::SLOTS)
    };
    let rule = |parts: &[&[Statement]]| Rule::new(parts.concat());
    let client = || Expression::fields(&[Field::Priority, Field::SourceAddress]);
    let port = keys.attribute(attribute::STICKY);
    let known = Statement::set(WritableField::Priority, client().lookup(SetName::Affinity.name()));
    let forget = Statement::Delete {
        set: SetName::Affinity.name().into(),
        key: client(),
        data: Some(Field::Priority.into()),
    };
    let to_hit = Statement::jump(hit.clone());
    let rules = vec![
        rule(&[&port]),
        rule(&[&[known, to_hit.clone()]]),
        // Not remembered, or the endpoint is gone: an update would not change what an element says.
        rule(&[&port, &[forget]]),
        rule(&[&keys.attribute(draw), &[to_class(SetName::Draws)]]),
        rule(&[&[keys.read_attribute(), to_hit.clone()]]),
        // Between two versions of the Service the drawn slot may be gone; the first one is the last to go.
        rule(&[&keys.attribute(first_slot), &[to_hit]]),
        rule(&[&[Statement::goto(chains::NO_ENDPOINTS)]]),
    ];
    (rules, Chain::regular(hit, hit_rules(timeout, keys, is_local, family)))
}

/// Remembers the client, and sends the packet to the endpoint whose lasting number is in the scratch field.
/// Comes back if that endpoint is gone.
fn hit_rules(timeout: u32, keys: Keys, is_local: bool, family: Family) -> Vec<Rule> {
    let port = Expression::from(Field::Priority).bitwise(BitOp::And, PORT_MASK);
    let remember = Statement::Update {
        set: SetName::Affinity.name().into(),
        key: Expression::Concat(vec![port, Field::SourceAddress.into()]),
        timeout_ms: u64::from(timeout) * 1000,
        data: Some(Field::Priority.into()),
    };
    let mut rules = vec![Rule::new([remember])];
    if is_local {
        let local = Expression::from(Field::Priority).bitwise(BitOp::Or, LOCAL_SLOTS);
        rules.push(Rule::new([Statement::set(WritableField::Priority, local)]));
    }
    rules.push(keys.dnat(family));
    rules
}
