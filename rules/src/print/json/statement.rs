//! Statements and expressions in the schema of libnftables-json(5).

use serde_json::{Value as Json, json};

use super::{
    super::{
        element::printable,
        expression::{Notation, sign},
        statement::{interface, is_host, listed},
    },
    values::{one_or, protocol, verdict},
};
use crate::ruleset::{
    ClassId, Expression, Family, Field, MatchOp, MatchValue, Name, RejectWith, Rule, Statement, WritableField,
};

/// The `expr` array of a rule.
pub(super) fn expressions(rule: &Rule, family: Family) -> Json {
    listed(rule).map(|each| statement(each, family)).collect()
}

fn statement(statement: &Statement, family: Family) -> Json {
    match statement {
        Statement::Match { left, op, right } => matching(left, *op, right, family),
        Statement::InSet { key, set, negated } => json!({ "match": {
            "op": if *negated { "!=" } else { "==" },
            "left": expression(key, family, Notation::Class),
            "right": reference(set),
        } }),
        Statement::Set { field, value } => {
            let (field, notation) = match field {
                WritableField::Priority => (Field::Priority, Notation::Class),
                WritableField::Mark => (Field::Mark, Notation::Mark),
            };
            json!({ "mangle": {
                "key": self::field(field, family), "value": expression(value, family, notation)
            } })
        }
        Statement::VerdictMap { key, map } => json!({ "vmap": {
            "key": expression(key, family, Notation::Class), "data": reference(map)
        } }),
        Statement::Update { set, key, timeout_ms, data } => {
            let key = expression(key, family, Notation::Class);
            // The schema has whole seconds only; rounding down could give 0, which means no timeout.
            let element = json!({ "elem": { "val": key, "timeout": timeout_ms.div_ceil(1000) } });
            dynamic("update", set, &element, data.as_ref(), family)
        }
        Statement::Delete { set, key, data } => {
            dynamic("delete", set, &expression(key, family, Notation::Class), data.as_ref(), family)
        }
        Statement::Dnat { key, map } => {
            json!({ "dnat": { "family": family.name(), "addr": lookup(key, map, family) } })
        }
        Statement::Masquerade => json!({ "masquerade": { "flags": "fully-random" } }),
        Statement::Reject(RejectWith::TcpReset) => json!({ "reject": { "type": "tcp reset" } }),
        Statement::Reject(RejectWith::PortUnreachable) => {
            let protocol = match family {
                Family::Ip => "icmp",
                Family::Ip6 => "icmpv6",
            };
            json!({ "reject": { "type": protocol, "expr": "port-unreachable" } })
        }
        Statement::Verdict(to) => verdict(to),
        Statement::Foreign(text) => printable(text, '"').into(),
    }
}

fn matching(left: &Expression, op: MatchOp, right: &MatchValue, family: Family) -> Json {
    let op = match (op, right) {
        // A test of one bit in a bit field.
        (MatchOp::Equal, MatchValue::Dnat) => "in",
        (MatchOp::NotEqual, MatchValue::Dnat) => "!",
        (MatchOp::Equal, _) => "==",
        (MatchOp::NotEqual, _) => "!=",
    };
    let right = match right {
        MatchValue::Proto(number) => protocol(*number),
        MatchValue::Prefix(network) if is_host(*network) => network.ip().to_string().into(),
        MatchValue::Prefix(network) => json!({ "prefix": {
            "addr": network.network().to_string(), "len": network.prefix()
        } }),
        MatchValue::Number(number) => constant(*number, Notation::beside(left)),
        MatchValue::Local => "local".into(),
        MatchValue::Dnat => "dnat".into(),
        MatchValue::Interface { name, prefix } => interface(name, *prefix).into(),
    };
    json!({ "match": { "op": op, "left": expression(left, family, Notation::Class), "right": right } })
}

fn expression(expression: &Expression, family: Family, notation: Notation) -> Json {
    match expression {
        Expression::Field(field) => self::field(*field, family),
        Expression::Constant(number) => constant(*number, notation),
        Expression::Concat(parts) => {
            let parts = parts.iter().map(|part| self::expression(part, family, notation)).collect();
            one_or(parts, |parts| json!({ "concat": parts }))
        }
        Expression::Lookup { key, map } => lookup(key, map, family),
        Expression::Random { modulus, offset } => {
            json!({ "numgen": { "mode": "random", "mod": modulus, "offset": offset } })
        }
        Expression::Hash { key, modulus, seed, offset } => {
            let key = self::expression(key, family, notation);
            let mut hash = json!({ "mod": modulus, "seed": seed, "expr": key });
            if *offset != 0 {
                hash["offset"] = (*offset).into();
            }
            json!({ "jhash": hash })
        }
        Expression::Bitwise { op, left, right } => {
            let beside = match left.as_ref() {
                Expression::Constant(_) => notation,
                left => Notation::beside(left),
            };
            let left = self::expression(left, family, notation);
            json!({ sign(*op): [left, constant(*right, beside)] })
        }
    }
}

fn lookup(key: &Expression, map: &Name, family: Family) -> Json {
    json!({ "map": { "key": expression(key, family, Notation::Class), "data": reference(map) } })
}

fn reference(set: &Name) -> String {
    format!("@{set}")
}

fn constant(number: u32, notation: Notation) -> Json {
    match notation {
        Notation::Class => ClassId(number).to_string().into(),
        Notation::Mark | Notation::Plain => number.into(),
    }
}

fn field(field: Field, family: Family) -> Json {
    let payload =
        |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
    let meta = |key: &str| json!({ "meta": { "key": key } });
    let fib = |flag: &str| json!({ "fib": { "result": "type", "flags": [flag] } });
    match field {
        Field::SourceAddress => payload(family.name(), "saddr"),
        Field::DestinationAddress => payload(family.name(), "daddr"),
        Field::L4Proto => meta("l4proto"),
        Field::DestinationPort => payload("th", "dport"),
        Field::Priority => meta("priority"),
        Field::Mark => meta("mark"),
        Field::InputInterface => meta("iifname"),
        Field::ConntrackStatus => json!({ "ct": { "key": "status" } }),
        Field::SourceAddressType => fib("saddr"),
        Field::DestinationAddressType => fib("daddr"),
    }
}

/// What a rule does to an element of a dynamic set or map.
fn dynamic(op: &str, set: &Name, element: &Json, data: Option<&Expression>, family: Family) -> Json {
    match data {
        None => json!({ "set": { "op": op, "elem": element, "set": reference(set) } }),
        Some(data) => json!({ "map": {
            "op": op, "elem": element, "map": reference(set),
            "data": expression(data, family, Notation::Class),
        } }),
    }
}
