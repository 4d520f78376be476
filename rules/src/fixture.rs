//! Rulesets for tests: one that answers for a few Services, one with everything the model can say, and
//! arbitrary ones.

pub(crate) mod arbitrary;
mod every_kind;
mod services;

use std::net::IpAddr;

use crate::ruleset::{Concat, Family, Value};

pub(crate) use self::{every_kind::every_kind, services::services};

/// TCP's protocol number.
pub(crate) const TCP: u8 = 6;

/// An address that ends in `last`: `10.NET.0.LAST` or `fd00:NET::LAST`.
pub(crate) fn address(family: Family, net: u8, last: u8) -> IpAddr {
    match family {
        Family::Ip => [10, net, 0, last].into(),
        Family::Ip6 => [0xfd00, net.into(), 0, 0, 0, 0, 0, last.into()].into(),
    }
}

/// A concatenation of values.
pub(crate) fn concat<const N: usize>(values: [Value; N]) -> Concat {
    Concat::new(&values)
}
