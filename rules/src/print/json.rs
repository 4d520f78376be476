//! A whole ruleset as JSON, in the schema of libnftables-json(5).

mod statement;
mod values;

use serde_json::{Value as Json, json};

use self::values::{one_or, protocol, verdict};
use super::{
    element::{Span, spans},
    nft::{flags, kind},
};
use crate::ruleset::{
    Chain, Concat, DataType, Element, ElementData, Family, Rule, Ruleset, Set, SetData, SetFlags, Table,
    Value,
};

/// The ruleset as a JSON document for `nft -j -f`: commands that replace each table, as in
/// [`super::nft()`].
///
/// Objects look as `nft -j list` of version 1.0.6 prints them, without handles. Where that version deviates from its
/// own schema, the document follows the schema:
///
/// * The data type of a map whose data is a concatenation is an array, like that of a key. nft 1.0.6
///   prints it as one string, `"ipv4_addr . inet_service"`, and reads neither form: JSON with such a map
///   needs nft 1.1.2 or later, while the text of [`super::nft()`] loads everywhere.
/// * `update @map { … }` is a `map` statement; 1.0.6 prints its text as a string.
/// * The offset of `numgen` is unsigned; 1.0.6 prints it negative from 2147483648 on.
/// * The flag `dynamic` is left out as 1.0.6 does, which refuses the flag; nft adds it to a set that a rule updates.
///
/// A [`Statement::Foreign`](crate::ruleset::Statement::Foreign) is a string, as nft prints statements
/// that have no JSON form; nft refuses to load a rule that holds one.
pub fn json(ruleset: &Ruleset) -> Json {
    let mut commands = vec![json!({ "metainfo": { "json_schema_version": 1 } })];
    for (&family, table) in &ruleset.tables {
        let declaration = json!({ "table": { "family": family.name(), "name": &*table.name } });
        commands.push(json!({ "add": declaration }));
        commands.push(json!({ "delete": declaration }));
        commands.push(json!({ "add": declaration }));
        commands.extend(objects(family, table).map(|object| json!({ "add": object })));
    }
    json!({ "nftables": commands })
}

/// What a table holds, in an order in which it can be added: a verdict map's elements need their chains,
/// rules need their sets.
fn objects(family: Family, table: &Table) -> impl Iterator<Item = Json> + '_ {
    let chains = table.chains.values().map(move |each| chain(family, table, each));
    let sets = table.sets.values().map(move |each| set(family, table, each));
    let rules = table
        .chains
        .values()
        .flat_map(move |chain| chain.rules.iter().map(move |each| rule(family, table, chain, each)));
    chains.chain(sets).chain(rules)
}

fn chain(family: Family, table: &Table, chain: &Chain) -> Json {
    let mut object = json!({ "family": family.name(), "table": &*table.name, "name": &*chain.name });
    if let Some(base) = &chain.base {
        object["type"] = base.chain_type.name().into();
        object["hook"] = base.hook.name().into();
        object["prio"] = base.priority.into();
        object["policy"] = "accept".into();
    }
    json!({ "chain": object })
}

fn set(family: Family, table: &Table, set: &Set) -> Json {
    let mut object = json!({
        "family": family.name(), "table": &*table.name, "name": &*set.name, "type": types(&set.key)
    });
    match &set.data {
        SetData::None => {}
        SetData::Value(data) => object["map"] = types(data),
        SetData::Verdict => object["map"] = "verdict".into(),
    }
    if let Some(size) = set.size {
        object["size"] = size.into();
    }
    let flags = flags(SetFlags { dynamic: false, ..set.flags });
    if !flags.is_empty() {
        object["flags"] = flags.into();
    }
    if set.counter {
        object["stmt"] = json!([{ "counter": null }]);
    }
    if !set.elements.is_empty() {
        object["elem"] = set.elements.iter().map(|(key, each)| element(set, key, each)).collect();
    }
    json!({ kind(set): object })
}

fn rule(family: Family, table: &Table, chain: &Chain, rule: &Rule) -> Json {
    json!({ "rule": {
        "family": family.name(), "table": &*table.name, "chain": &*chain.name,
        "expr": statement::expressions(rule, family)
    } })
}

fn types(types: &[DataType]) -> Json {
    one_or(types.iter().map(|t| t.name().into()).collect(), Json::Array)
}

fn element(set: &Set, key: &Concat, element: &Element) -> Json {
    let mut left = concat(&set.key, key, element.end.as_deref());
    if let Some(comment) = &element.comment {
        left = json!({ "elem": { "val": left, "comment": &**comment } });
    }
    match (&element.data, &set.data) {
        (ElementData::None, _) => left,
        (ElementData::Value(data), SetData::Value(types)) => json!([left, concat(types, data, None)]),
        (ElementData::Value(data), _) => json!([left, concat(&[], data, None)]),
        (ElementData::Verdict(to), _) => json!([left, verdict(to)]),
    }
}

/// A key or a datum; hexadecimal if it is not of these types.
fn concat(types: &[DataType], key: &Concat, end: Option<&Concat>) -> Json {
    match spans(types, key, end) {
        Some(fields) => one_or(fields.into_iter().map(span).collect(), |fields| json!({ "concat": fields })),
        None => key.display(types).to_string().into(),
    }
}

fn span(span: Span) -> Json {
    match span {
        Span::Single(Value::Proto(number)) => protocol(number),
        Span::Single(single) => value(single),
        Span::Prefix(address, length) => {
            json!({ "prefix": { "addr": address.to_string(), "len": length } })
        }
        Span::Range(from, to) => json!({ "range": [value(from), value(to)] }),
    }
}

fn value(value: Value) -> Json {
    match value {
        Value::Proto(number) => number.into(),
        Value::Port(port) => port.into(),
        other => other.to_string().into(),
    }
}
