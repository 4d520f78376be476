//! Expressions in nft's notation.

use std::fmt::{self, Display as _};

use super::element::joined;
use crate::ruleset::{BitOp, ClassId, Expression, Family, Field};

/// How nft writes a 32-bit number, by the type of what it is compared with or assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    /// `1:3`, for priorities.
    Class,
    /// `0x00004000`, for marks.
    Mark,
    /// Decimal, for plain integers.
    Plain,
}

impl Notation {
    /// The notation of a constant beside `expression`.
    pub(super) const fn beside(expression: &Expression) -> Self {
        match expression {
            Expression::Field(Field::Mark) => Self::Mark,
            Expression::Random { .. } | Expression::Hash { .. } => Self::Plain,
            Expression::Bitwise { left, .. } => Self::beside(left),
            _ => Self::Class,
        }
    }

    /// A number in this notation.
    pub(super) fn number(self, number: u32) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Self::Class => ClassId(number).fmt(f),
            Self::Mark => write!(f, "0x{number:08x}"),
            Self::Plain => number.fmt(f),
        })
    }
}

/// Whether a bitwise operation after the first field of a concatenation needs parentheses. nft's grammar demands them
/// in the key of a map that is read by `set` or `dnat`; elsewhere, nft reads the bare form that `nft list` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// Bare.
    Bare,
    /// In parentheses.
    Parentheses,
}

/// The name of a field.
pub(super) const fn field(field: Field, family: Family) -> &'static str {
    match (field, family) {
        (Field::SourceAddress, Family::Ip) => "ip saddr",
        (Field::SourceAddress, Family::Ip6) => "ip6 saddr",
        (Field::DestinationAddress, Family::Ip) => "ip daddr",
        (Field::DestinationAddress, Family::Ip6) => "ip6 daddr",
        (Field::L4Proto, _) => "meta l4proto",
        (Field::DestinationPort, _) => "th dport",
        (Field::Priority, _) => "meta priority",
        (Field::Mark, _) => "meta mark",
        (Field::InputInterface, _) => "iifname",
        (Field::ConntrackStatus, _) => "ct status",
        (Field::SourceAddressType, _) => "fib saddr type",
        (Field::DestinationAddressType, _) => "fib daddr type",
    }
}

/// The sign of a bitwise operation.
pub(super) const fn sign(op: BitOp) -> &'static str {
    match op {
        BitOp::And => "&",
        BitOp::Or => "|",
        BitOp::Xor => "^",
    }
}

/// An expression on its own; its constants are priorities unless its context has another type.
pub(super) const fn expression(expression: &Expression, family: Family) -> Written<'_> {
    Written { expression, family, notation: Notation::Class, grouping: Grouping::Bare }
}

/// An expression and how to write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    /// The expression.
    pub(super) expression: &'a Expression,
    /// Family of its table.
    pub(super) family: Family,
    /// Notation of its constants.
    pub(super) notation: Notation,
    /// Grouping inside a concatenation.
    pub(super) grouping: Grouping,
}

impl<'a> Written<'a> {
    const fn part(self, expression: &'a Expression) -> Self {
        Self { expression, ..self }
    }
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.expression {
            Expression::Field(name) => f.write_str(field(*name, self.family)),
            Expression::Constant(number) => self.notation.number(*number).fmt(f),
            Expression::Concat(parts) => joined(
                f,
                parts.iter().enumerate().map(|(i, part)| {
                    let group = match part {
                        Expression::Bitwise { .. } => i > 0 && self.grouping == Grouping::Parentheses,
                        Expression::Concat(_) => true,
                        _ => false,
                    };
                    Grouped(self.part(part), group)
                }),
            ),
            Expression::Lookup { key, map } => {
                let key = Self { grouping: Grouping::Parentheses, ..self.part(key) };
                write!(f, "{key} map @{map}")
            }
            Expression::Random { modulus, offset } => {
                write!(f, "numgen random mod {modulus}")?;
                offset_suffix(f, *offset)
            }
            Expression::Hash { key, modulus, seed, offset } => {
                write!(f, "jhash {} mod {modulus} seed 0x{seed:x}", self.part(key))?;
                offset_suffix(f, *offset)
            }
            Expression::Bitwise { op, left, right } => {
                let (notation, group) = match left.as_ref() {
                    Expression::Constant(_) => (self.notation, false),
                    Expression::Field(_) => (Notation::beside(left), false),
                    Expression::Bitwise { op: first, .. } => {
                        (Notation::beside(left), binding(*first) < binding(*op))
                    }
                    _ => (Notation::beside(left), true),
                };
                write!(f, "{} {} {}", Grouped(self.part(left), group), sign(*op), notation.number(*right))
            }
        }
    }
}

/// An expression, in parentheses if asked for. The spaces inside them matter: nft does not see the end of
/// a class such as `1:3` at a parenthesis.
struct Grouped<'a>(Written<'a>, bool);

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 { write!(f, "( {} )", self.0) } else { self.0.fmt(f) }
    }
}

/// How tightly an operator binds in nft's grammar.
const fn binding(op: BitOp) -> u8 {
    match op {
        BitOp::And => 2,
        BitOp::Xor => 1,
        BitOp::Or => 0,
    }
}

fn offset_suffix(f: &mut fmt::Formatter<'_>, offset: u32) -> fmt::Result {
    if offset == 0 { Ok(()) } else { write!(f, " offset {offset}") }
}
