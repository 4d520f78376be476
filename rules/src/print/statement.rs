//! Statements and rules in nft's notation.

use std::fmt::{self, Display as _};

use super::{
    element::{printable, quoted},
    expression::{Grouping, Notation, Written, expression},
};
use crate::ruleset::{
    Expression, Family, Field, MatchOp, MatchValue, RejectWith, Rule, Statement, Value, WritableField,
};

/// The statements of a rule that nft lists: it leaves out `meta l4proto tcp` right before
/// `reject with tcp reset`, which implies it.
pub(super) fn listed(rule: &Rule) -> impl Iterator<Item = &Statement> {
    let implied = |i: usize| {
        is_tcp(&rule.statements[i])
            && matches!(rule.statements.get(i + 1), Some(Statement::Reject(RejectWith::TcpReset)))
    };
    rule.statements.iter().enumerate().filter(move |(i, _)| !implied(*i)).map(|(_, s)| s)
}

fn is_tcp(statement: &Statement) -> bool {
    *statement == Statement::equal(Field::L4Proto, MatchValue::Proto(6))
}

/// A rule.
pub(super) fn rule(rule: &Rule, family: Family) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        if rule.statements.iter().any(|s| matches!(s, Statement::Foreign(_))) {
            f.write_str("# ")?;
        }
        for (i, statement) in listed(rule).enumerate() {
            let space = if i == 0 { "" } else { " " };
            match statement {
                Statement::Foreign(text) => write!(f, "{space}{}", printable(text, '"'))?,
                known => write!(f, "{space}{}", self::statement(known, family))?,
            }
        }
        Ok(())
    })
}

/// A statement.
pub(super) fn statement(statement: &Statement, family: Family) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| match statement {
        Statement::Match { left, op, right } => matching(f, left, *op, right, family),
        Statement::InSet { key, set, negated } => {
            write!(f, "{} {}@{set}", expression(key, family), if *negated { "!= " } else { "" })
        }
        Statement::Set { field, value } => {
            let (field, notation) = match field {
                WritableField::Priority => ("meta priority", Notation::Class),
                WritableField::Mark => ("meta mark", Notation::Mark),
            };
            write!(f, "{field} set {}", Written { notation, ..expression(value, family) })
        }
        Statement::VerdictMap { key, map } => write!(f, "{} vmap @{map}", expression(key, family)),
        Statement::Update { set, key, timeout_ms, data } => {
            let (key, time) = (expression(key, family), duration(*timeout_ms));
            write!(f, "update @{set} {{ {key} timeout {time}{} }}", data_suffix(data.as_ref(), family))
        }
        Statement::Delete { set, key, data } => {
            let key = expression(key, family);
            write!(f, "delete @{set} {{ {key}{} }}", data_suffix(data.as_ref(), family))
        }
        Statement::Dnat { key, map } => {
            let key = Written { grouping: Grouping::Parentheses, ..expression(key, family) };
            write!(f, "dnat {family} to {key} map @{map}")
        }
        Statement::Masquerade => f.write_str("masquerade fully-random"),
        Statement::Reject(RejectWith::TcpReset) => f.write_str("reject with tcp reset"),
        Statement::Reject(RejectWith::PortUnreachable) => f.write_str("reject"),
        Statement::Verdict(to) => to.fmt(f),
        Statement::Foreign(text) => write!(f, "# {}", printable(text, '"')),
    })
}

fn data_suffix(data: Option<&Expression>, family: Family) -> String {
    data.map(|data| format!(" : {}", expression(data, family))).unwrap_or_default()
}

fn matching(
    f: &mut fmt::Formatter<'_>,
    left: &Expression,
    op: MatchOp,
    right: &MatchValue,
    family: Family,
) -> fmt::Result {
    let op = match op {
        // `ct status dnat` tests a bit, and `!` is its opposite; `!=` would compare the whole field.
        MatchOp::NotEqual if *right == MatchValue::Dnat => "! ",
        MatchOp::NotEqual => "!= ",
        // After a bitwise operation the operator must be written.
        MatchOp::Equal if matches!(left, Expression::Bitwise { .. }) => "== ",
        MatchOp::Equal => "",
    };
    write!(f, "{} {op}", expression(left, family))?;
    match right {
        MatchValue::Proto(number) => Value::Proto(*number).fmt(f),
        MatchValue::Prefix(network) if is_host(*network) => network.ip().fmt(f),
        MatchValue::Prefix(network) => write!(f, "{}/{}", network.network(), network.prefix()),
        MatchValue::Number(number) => Notation::beside(left).number(*number).fmt(f),
        MatchValue::Local => f.write_str("local"),
        MatchValue::Dnat => f.write_str("dnat"),
        MatchValue::Interface { name, prefix } => quoted(&interface(name, *prefix)).fmt(f),
    }
}

/// Whether a prefix covers one address only.
pub(super) fn is_host(network: ipnetwork::IpNetwork) -> bool {
    network.prefix() == if network.is_ipv4() { 32 } else { 128 }
}

/// The name of an interface, or its beginning followed by `*`. A name that itself ends in `*` has that
/// sign escaped.
pub(super) fn interface(name: &str, prefix: bool) -> String {
    match (prefix, name.strip_suffix('*')) {
        (true, _) => format!("{name}*"),
        (false, Some(start)) => format!("{start}\\*"),
        (false, None) => name.to_owned(),
    }
}

/// A time as nft writes it: `1h`, `3h1s500ms`, `1m30s`.
fn duration(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let seconds = milliseconds / 1000;
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (milliseconds % 1000, "ms"),
    ];
    parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect::<Vec<_>>().concat()
}
