//! The expressions of `nf_tables`' virtual machine ("instructions" here, since the model's expressions are
//! another thing): what a rule is made of on its way into the kernel and back.

mod parse;
mod verdict;

use portolan_rules::ruleset::{Name, Verdict};
use smallvec::SmallVec;

pub(super) use parse::parse_expressions;
pub(super) use verdict::{parse_verdict, verdict_code};

/// The constant of an instruction: at most an IPv6 address.
pub(super) type Bytes = SmallVec<[u8; 16]>;

/// A register, counted in 4-byte words from the first. The kernel has 16 of them (`NFT_REG32_00` …).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Register(u8);

impl Register {
    /// The first register.
    pub(super) const FIRST: Self = Self(0);
    /// Number of registers.
    const COUNT: u8 = 16;

    /// The register `bytes` further on, rounded up to whole registers, if there is one.
    pub(super) fn after(self, bytes: usize) -> Option<Self> {
        let word = u8::try_from(bytes.div_ceil(4)).ok()?.checked_add(self.0)?;
        (word < Self::COUNT).then_some(Self(word))
    }

    /// The number that nft sends: where it can, one of the older 16-byte registers (`NFT_REG_1` …).
    pub(super) fn number(self) -> u32 {
        if self.0.is_multiple_of(4) { 1 + u32::from(self.0) / 4 } else { 8 + u32::from(self.0) }
    }

    /// Reads the kernel's number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        match number {
            1..=4 => Some(Self((number as u8 - 1) * 4)),
            8..=23 => Some(Self(number as u8 - 8)),
            _ => None,
        }
    }
}

/// Where a lookup leaves what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// Nowhere: membership of a set.
    Nowhere,
    /// The verdict register.
    Verdict,
    /// A data register.
    Register(Register),
}

/// One instruction, with those parameters that Portolan uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    /// `payload`: load bytes of the packet.
    Payload { base: u32, offset: u32, length: u32, to: Register },
    /// `meta` with a destination.
    Meta { key: u32, to: Register },
    /// `meta` with a source.
    SetMeta { key: u32, from: Register },
    /// `ct` without a direction.
    Conntrack { key: u32, to: Register },
    /// `fib`.
    Fib { result: u32, flags: u32, to: Register },
    /// `cmp`.
    Compare { from: Register, op: u32, data: Bytes },
    /// `bitwise`: `to = (from & mask) ^ xor`.
    Bitwise { from: Register, to: Register, mask: Bytes, xor: Bytes },
    /// `immediate` with data.
    Immediate { to: Register, data: Bytes },
    /// `immediate` with a verdict.
    Verdict(Verdict),
    /// `lookup`.
    Lookup { set: Name, from: Register, to: Destination, inverted: bool },
    /// `numgen random`.
    Random { to: Register, modulus: u32, offset: u32 },
    /// `hash` of Jenkins' kind with a seed.
    Hash { from: Register, to: Register, length: u32, modulus: u32, seed: u32, offset: u32 },
    /// `dynset update`.
    Update { set: Name, key: Register, data: Option<Register>, timeout_ms: u64 },
    /// `dynset delete`.
    Delete { set: Name, key: Register, data: Option<Register> },
    /// `nat dnat` to one address and one port.
    Dnat { family: u32, address: Register, port: Register },
    /// `masq`.
    Masquerade { flags: u32 },
    /// `reject`.
    Reject { kind: u32, code: u32 },
    /// Anything else, by its name.
    Other(String),
}

impl Instruction {
    /// The kernel's name of the expression.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Conntrack { .. } => "ct",
            Self::Fib { .. } => "fib",
            Self::Compare { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Lookup { .. } => "lookup",
            Self::Random { .. } => "numgen",
            Self::Hash { .. } => "hash",
            Self::Update { .. } | Self::Delete { .. } => "dynset",
            Self::Dnat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Reject { .. } => "reject",
            Self::Other(name) => name,
        }
    }
}
