//! The results of the simulator.

use std::{collections::BTreeSet, fmt, net::SocketAddr, sync::Arc};

use indexmap::IndexMap;

use super::probability::Probability;
use crate::ruleset::{ClassId, Concat, DataType, Family, Hook, Name, RejectWith, Verdict, WritableField};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Its destination is translated.
    Sent {
        /// The new destination.
        to: SocketAddr,
        /// Whether its source becomes this node's address.
        masqueraded: bool,
    },
    /// It goes where it was addressed to.
    Untouched {
        /// Whether its source becomes this node's address.
        masqueraded: bool,
    },
    /// It is refused, and its sender is notified.
    Rejected(RejectWith),
    /// It disappears.
    Dropped,
    /// The simulator cannot decide.
    Unknown(UnknownReason),
}

/// Why a fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// The packet meets more rules than the simulator evaluates, as in a loop of `goto`.
    TooManyRules,
    /// The fate depends on more random choices than the simulator enumerates.
    TooManyChoices,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |masqueraded| if masqueraded { ", masqueraded" } else { "" };
        match *self {
            Self::Sent { to, masqueraded } => write!(f, "sent to {to}{}", suffix(masqueraded)),
            Self::Untouched { masqueraded } => write!(f, "untouched{}", suffix(masqueraded)),
            Self::Rejected(RejectWith::TcpReset) => f.write_str("rejected with a TCP reset"),
            Self::Rejected(RejectWith::PortUnreachable) => f.write_str("rejected as port unreachable"),
            Self::Dropped => f.write_str("dropped"),
            Self::Unknown(UnknownReason::TooManyRules) => f.write_str("unknown: too many rules"),
            Self::Unknown(UnknownReason::TooManyChoices) => f.write_str("unknown: too many random choices"),
        }
    }
}

/// What a rule did besides deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It wrote a field.
    Set(WritableField, u32),
    /// It found an element of a set or map.
    Found {
        /// The set or map.
        set: Name,
        /// The types of its key.
        types: Vec<DataType>,
        /// The key that was looked up.
        key: Concat,
    },
    /// It added an element to a dynamic set, or restarted its timer.
    Updated(Name),
    /// An element of a dynamic set was removed, if it was there.
    Deleted(Name),
    /// It holds a statement that the simulator does not know and skipped.
    Unknown(Arc<str>),
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(WritableField::Priority, value) => write!(f, "meta priority = {}", ClassId(*value)),
            Self::Set(WritableField::Mark, value) => write!(f, "meta mark = 0x{value:08x}"),
            Self::Found { set, types, key } => {
                write!(f, "element {{ {} }} of @{set}", key.display(types))
            }
            Self::Updated(set) => write!(f, "updated @{set}"),
            Self::Deleted(set) => write!(f, "deleted from @{set}"),
            Self::Unknown(text) => write!(f, "unknown: {text}"),
        }
    }
}

/// How a rule ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This statement's test failed or its lookup missed.
    NoMatch(Arc<str>),
    /// It came to its end without a verdict.
    Continue,
    /// A verdict: `accept` ends the base chain.
    Verdict(Verdict),
    /// The destination was translated; the base chain ends.
    Translate(SocketAddr),
    /// The source was translated; the base chain ends.
    Masquerade,
    /// The packet was refused.
    Reject(RejectWith),
    /// The rule has no meaning to the simulator, for this reason, and was left. To the kernel, it has no meaning
    /// either, or another one.
    Unknown(&'static str),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMatch(statement) => write!(f, "no match: {statement}"),
            Self::Continue => f.write_str("next rule"),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Translate(to) => write!(f, "destination becomes {to}"),
            Self::Masquerade => f.write_str("source becomes this node"),
            Self::Reject(RejectWith::TcpReset) => f.write_str("reset"),
            Self::Reject(RejectWith::PortUnreachable) => f.write_str("port unreachable"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// One rule on the packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The hook.
    pub hook: Hook,
    /// The chain.
    pub chain: Name,
    /// Number of jumps that led to the chain.
    pub depth: usize,
    /// Position of the rule in the chain, from 0.
    pub rule: usize,
    /// The rule as nft lists it.
    pub text: Arc<str>,
    /// What it did.
    pub effects: Vec<Effect>,
    /// How it ended.
    pub decision: Decision,
}

/// One thing that may happen to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// How likely it is.
    pub probability: Probability,
    /// What becomes of the packet.
    pub fate: Fate,
    /// What it does to dynamic sets; [`super::Memory::remember`] carries it out.
    pub updates: Vec<SetWrite>,
    /// The rules on the way. If several ways lead to this case, the rules of the first.
    pub steps: Vec<Step>,
    pub(super) certain: bool,
    /// Sets and keys of the lookups that found no element.
    pub(super) missed: BTreeSet<(Name, Concat)>,
}

impl Case {
    /// Whether every statement on every way to this case was understood.
    pub const fn is_certain(&self) -> bool {
        self.certain
    }

    /// Adds the probability of a case with the same fate and updates.
    pub(super) fn absorb(&mut self, alike: &Self) {
        self.probability += &alike.probability;
        self.certain &= alike.certain;
        self.missed.extend(alike.missed.iter().cloned());
    }

    /// The case of everything that was not simulated.
    pub(super) const fn cut_off(probability: Probability) -> Self {
        let fate = Fate::Unknown(UnknownReason::TooManyChoices);
        Self {
            probability,
            fate,
            updates: Vec::new(),
            steps: Vec::new(),
            certain: false,
            missed: BTreeSet::new(),
        }
    }
}

/// All that may happen to a packet. The probabilities add up to 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The cases; no two have the same fate and the same updates.
    pub cases: Vec<Case>,
}

impl Outcome {
    /// The distribution of fates, in order of their first case.
    pub fn fates(&self) -> IndexMap<Fate, Probability> {
        let mut fates = IndexMap::new();
        for case in &self.cases {
            *fates.entry(case.fate).or_insert_with(|| Probability::new(0, 1)) += &case.probability;
        }
        fates
    }

    /// The fate, if there is only one.
    pub fn only_fate(&self) -> Option<Fate> {
        let fates = self.fates();
        (fates.len() == 1).then(|| fates.into_keys().next())?
    }

    /// The elements of dynamic sets, by family, set and key, that the packet would add. The kernel's elements at these
    /// keys show what it remembers about the client.
    pub fn written(&self) -> BTreeSet<(Family, Name, Concat)> {
        let updates = self.cases.iter().flat_map(|case| &case.updates);
        let written = updates.filter(|update| matches!(update.action, Action::Update { .. }));
        written.map(|update| (update.family, update.set.clone(), update.key.clone())).collect()
    }

    /// The sets, of the packet's family, and the keys of lookups that found no element, on any way. If the elements at
    /// all of these keys are known, the outcome depends on no other element.
    pub fn missed(&self) -> BTreeSet<&(Name, Concat)> {
        self.cases.iter().flat_map(|case| &case.missed).collect()
    }

    /// The endpoint that is remembered for the client. `None` if an endpoint is chosen anew: then the rules first
    /// remove what may be remembered.
    pub fn recalled(&self) -> Option<SocketAddr> {
        let mut updates = self.cases.iter().flat_map(|case| &case.updates);
        match self.only_fate() {
            Some(Fate::Sent { to, .. }) => {
                let is_new = updates.any(|update| update.action == Action::Delete);
                (!is_new && !self.written().is_empty()).then_some(to)
            }
            _ => None,
        }
    }
}

/// What a statement `update @set { … }` or `delete @set { … }` does to a set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetWrite {
    /// Family of the table.
    pub family: Family,
    /// The set or map.
    pub set: Name,
    /// Key.
    pub key: Concat,
    /// What is done to the element of that key.
    pub action: Action,
}

/// What is done to a dynamic element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is added, or its timer restarted.
    Update {
        /// Data, in a map. An element that exists keeps its own.
        data: Option<Concat>,
        /// Time after which the element expires, in milliseconds; 0 for never.
        timeout_ms: u64,
    },
    /// It is removed, if it is there.
    Delete,
}
