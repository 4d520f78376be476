//! A whole ruleset in the syntax of `nft -f`.

use std::fmt::{self, Write as _};

use super::{element::element, statement::rule};
use crate::ruleset::{BaseChain, Chain, DataType, Family, Hook, Ruleset, Set, SetData, SetFlags, Table};

/// The ruleset as a file for `nft -f`.
///
/// Each table is declared and deleted before it is defined, and `nft -f` sends a file as one transaction: the former
/// contents of the tables are replaced at once, and loading the file twice has the same effect as once. The
/// definitions are written as `nft list` writes them, sets and chains in their order, elements in order of their keys.
pub fn nft(ruleset: &Ruleset) -> String {
    let mut text = "# Loading this file replaces the tables below in one transaction; loading it again changes nothing.\n"
        .to_owned();
    // Writing into a `String` does not fail.
    let _ = ruleset.tables.iter().try_for_each(|(family, table)| write_table(*family, table, &mut text));
    text
}

fn write_table(family: Family, table: &Table, out: &mut String) -> fmt::Result {
    let name = &table.name;
    write!(out, "\nadd table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n")?;
    let mut separator = "";
    for set in table.sets.values() {
        out.push_str(std::mem::replace(&mut separator, "\n"));
        write_set(set, out)?;
    }
    for chain in table.chains.values() {
        out.push_str(std::mem::replace(&mut separator, "\n"));
        write_chain(chain, family, out)?;
    }
    out.write_str("}\n")
}

fn write_set(set: &Set, out: &mut String) -> fmt::Result {
    writeln!(out, "\t{} {} {{", kind(set), set.name)?;
    for property in properties(set) {
        writeln!(out, "\t\t{property}")?;
    }
    let mut before = "\t\telements = { ";
    for (key, value) in &set.elements {
        write!(out, "{before}{}", element(set, key, value))?;
        before = ",\n\t\t\t     ";
    }
    if !set.elements.is_empty() {
        out.write_str(" }\n")?;
    }
    out.write_str("\t}\n")
}

fn write_chain(chain: &Chain, family: Family, out: &mut String) -> fmt::Result {
    writeln!(out, "\tchain {} {{", chain.name)?;
    if let Some(base) = &chain.base {
        writeln!(out, "\t\t{}", base_line(*base))?;
    }
    for line in &chain.rules {
        writeln!(out, "\t\t{}", rule(line, family))?;
    }
    out.write_str("\t}\n")
}

/// A set's name and declaration on one line.
pub(super) fn declared_set(set: &Set) -> String {
    format!("{} {{ {}; }}", set.name, properties(set).join("; "))
}

/// A chain's name and declaration on one line.
pub(super) fn declared_chain(chain: &Chain) -> String {
    let base = chain.base.map(|base| format!(" {{ {} }}", base_line(base))).unwrap_or_default();
    format!("{}{base}", chain.name)
}

/// `set` or `map`.
pub(super) fn kind(set: &Set) -> &'static str {
    if set.is_map() { "map" } else { "set" }
}

/// The properties in the declaration of a set.
fn properties(set: &Set) -> Vec<String> {
    let data = match &set.data {
        SetData::None => String::new(),
        SetData::Value(data) => format!(" : {}", joined(data)),
        SetData::Verdict => " : verdict".to_owned(),
    };
    let flags = flags(set.flags);
    let mut properties = vec![format!("type {}{data}", joined(&set.key))];
    properties.extend(set.size.map(|size| format!("size {size}")));
    properties.extend((!flags.is_empty()).then(|| format!("flags {}", flags.join(","))));
    properties.extend(set.counter.then(|| "counter".to_owned()));
    properties
}

fn joined(types: &[DataType]) -> String {
    types.iter().map(|data_type| data_type.name()).collect::<Vec<_>>().join(" . ")
}

/// Flags in the order in which nft lists them.
pub(super) fn flags(flags: SetFlags) -> Vec<&'static str> {
    let all = [(flags.dynamic, "dynamic"), (flags.interval, "interval"), (flags.timeout, "timeout")];
    all.into_iter().filter_map(|(set, name)| set.then_some(name)).collect()
}

fn base_line(BaseChain { chain_type, hook, priority }: BaseChain) -> String {
    let priority = self::priority(hook, priority);
    format!("type {chain_type} hook {hook} priority {priority}; policy accept;")
}

/// How far from a named priority nft still uses its name.
const REACH: u32 = 10;

/// The names of the priorities of `enum nf_ip_hook_priorities` that every hook knows, and of the two
/// that belong to one hook each.
const PRIORITIES: [(i32, &str, Option<Hook>); 6] = [
    (-300, "raw", None),
    (-150, "mangle", None),
    (-100, "dstnat", Some(Hook::Prerouting)),
    (0, "filter", None),
    (50, "security", None),
    (100, "srcnat", Some(Hook::Postrouting)),
];

/// A priority as nft lists it: relative to a name that has a meaning at this hook, else a number.
fn priority(hook: Hook, priority: i32) -> String {
    let near = PRIORITIES.into_iter().find(|(number, _, only)| {
        priority.abs_diff(*number) <= REACH && only.is_none_or(|only| only == hook)
    });
    match near {
        None => priority.to_string(),
        Some((number, name, _)) if number == priority => name.to_owned(),
        Some((number, name, _)) => {
            let sign = if priority < number { '-' } else { '+' };
            format!("{name} {sign} {}", priority.abs_diff(number))
        }
    }
}
