//! How one of the endpoints is picked.

use std::fmt;

use crate::model::LoadBalancing;

/// How one of the endpoints is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pick {
    /// At random among this number of slots; with none, the packet is dropped.
    Random(u16),
    /// By a hash of the source address, in a table of this size.
    SourceHash(u16),
    /// The endpoint that the client had before, if its last connection was at most this number of seconds ago
    /// (`selection::session_affinity`).
    Affinity(u32),
}

impl Pick {
    /// How to pick from endpoints at this number of slots, without session affinity; `None` without a slot.
    pub const fn of_slots(slots: usize, balancing: LoadBalancing) -> Option<Self> {
        match (slots as u16, balancing) {
            (0, _) => None,
            (n, LoadBalancing::Random) => Some(Self::Random(n)),
            (n, LoadBalancing::SourceHash) => Some(Self::SourceHash(n)),
        }
    }

    /// Its part of a class's number: the kind in bits 20 and 21, the pick's own number below bit 16.
    pub const fn id(self) -> u32 {
        match self {
            Self::Random(n) => n as u32,
            Self::SourceHash(size) => 1 << 20 | size as u32,
            // A timeout has 17 bits: its highest bit is the lowest bit of the kind.
            Self::Affinity(timeout) => 2 << 20 | (timeout >> 16 & 1) << 20 | timeout & 0xffff,
        }
    }

    /// The pick at the end of a chain's name.
    pub fn at_end_of(name: &str) -> Option<Self> {
        let (start, number) = name.rsplit_once('-')?;
        if start.ends_with("-sticky") {
            return number.parse().ok().map(Self::Affinity);
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
            Self::Affinity(timeout) => write!(f, "sticky-{timeout}"),
        }
    }
}

/// How the two policies pick an endpoint; `None` for a policy that selects no endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Picks {
    pub cluster: Option<Pick>,
    pub local: Option<Pick>,
}
