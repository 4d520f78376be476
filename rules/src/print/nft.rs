//! A whole ruleset in the syntax of `nft -f`.

use std::fmt::{self, Display as _, Write};

use super::{element::element, statement::rule};
use crate::ruleset::{BaseChain, Chain, DataType, Family, Hook, Ruleset, Set, SetData, SetFlags, Table};

/// The ruleset as a file for `nft -f`. See [`write_nft`].
pub fn nft(ruleset: &Ruleset) -> String {
    let mut text = String::new();
    // Writing into a `String` does not fail.
    let _ = write_nft(ruleset, &mut text);
    text
}

/// Writes the ruleset as a file for `nft -f`.
///
/// Each table is declared and deleted before it is defined, and `nft -f` sends a file as one
/// transaction: whatever was in the tables is replaced at once, and loading twice is loading once.
/// The definitions are written as `nft list` writes them, sets and chains in their order, elements in
/// order of their keys.
///
/// # Errors
/// Those of `out`.
pub fn write_nft(ruleset: &Ruleset, out: &mut impl Write) -> fmt::Result {
    out.write_str(
        "# Loading this file replaces the tables below in one transaction; loading it again changes nothing.\n",
    )?;
    ruleset.tables.iter().try_for_each(|(family, table)| write_table(*family, table, out))
}

fn write_table(family: Family, table: &Table, out: &mut impl Write) -> fmt::Result {
    let name = &table.name;
    write!(out, "\nadd table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n")?;
    let mut first = true;
    let mut separate = |out: &mut dyn Write| {
        if std::mem::take(&mut first) { Ok(()) } else { out.write_char('\n') }
    };
    for set in table.sets.values() {
        separate(out)?;
        write_set(set, out)?;
    }
    for chain in table.chains.values() {
        separate(out)?;
        write_chain(chain, family, out)?;
    }
    out.write_str("}\n")
}

fn write_set(set: &Set, out: &mut impl Write) -> fmt::Result {
    write!(out, "\t{} {} {{\n\t\ttype {}\n", kind(set), set.name, types(set))?;
    if let Some(size) = set.size {
        writeln!(out, "\t\tsize {size}")?;
    }
    if set.flags != SetFlags::default() {
        writeln!(out, "\t\tflags {}", flags(set.flags))?;
    }
    if set.counter {
        out.write_str("\t\tcounter\n")?;
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

fn write_chain(chain: &Chain, family: Family, out: &mut impl Write) -> fmt::Result {
    writeln!(out, "\tchain {} {{", chain.name)?;
    if let Some(base) = &chain.base {
        writeln!(out, "\t\t{}", base_line(*base))?;
    }
    for line in &chain.rules {
        writeln!(out, "\t\t{}", rule(line, family))?;
    }
    out.write_str("\t}\n")
}

/// A set's declaration on one line.
pub(super) fn set_line(set: &Set) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        write!(f, "{} {} {{ type {};", kind(set), set.name, types(set))?;
        if let Some(size) = set.size {
            write!(f, " size {size};")?;
        }
        if set.flags != SetFlags::default() {
            write!(f, " flags {};", flags(set.flags))?;
        }
        f.write_str(if set.counter { " counter; }" } else { " }" })
    })
}

/// A chain's declaration on one line.
pub(super) fn chain_line(chain: &Chain) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        write!(f, "chain {}", chain.name)?;
        chain.base.map_or(Ok(()), |base| write!(f, " {{ {} }}", base_line(base)))
    })
}

/// `set` or `map`.
pub(super) fn kind(set: &Set) -> &'static str {
    if set.is_map() { "map" } else { "set" }
}

fn types(set: &Set) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        joined(&set.key).fmt(f)?;
        match &set.data {
            SetData::None => Ok(()),
            SetData::Value(data) => write!(f, " : {}", joined(data)),
            SetData::Verdict => f.write_str(" : verdict"),
        }
    })
}

fn joined(types: &[DataType]) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| super::element::joined(f, types.iter().map(|t| t.name())))
}

/// Flags in the order in which nft lists them.
fn flags(flags: SetFlags) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let all = [(flags.dynamic, "dynamic"), (flags.interval, "interval"), (flags.timeout, "timeout")];
        let set = all.iter().filter(|(set, _)| *set);
        set.enumerate().try_for_each(|(i, (_, name))| write!(f, "{}{name}", if i == 0 { "" } else { "," }))
    })
}

fn base_line(base: BaseChain) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let BaseChain { chain_type, hook, priority } = base;
        let priority = Priority { hook, number: priority };
        write!(f, "type {} hook {} priority {priority}; policy accept;", chain_type.name(), hook.name())
    })
}

/// A priority as nft lists it: relative to a name that has a meaning at this hook, else a number.
struct Priority {
    hook: Hook,
    number: i32,
}

impl Priority {
    /// How far from a named priority nft still uses its name.
    const REACH: u32 = 10;

    /// The names of the priorities of `enum nf_ip_hook_priorities` that every hook knows, and of the two
    /// that belong to one hook each.
    const NAMES: [(i32, &'static str, Option<Hook>); 6] = [
        (-300, "raw", None),
        (-150, "mangle", None),
        (-100, "dstnat", Some(Hook::Prerouting)),
        (0, "filter", None),
        (50, "security", None),
        (100, "srcnat", Some(Hook::Postrouting)),
    ];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = Self::NAMES.into_iter().find(|(number, _, hook)| {
            self.number.abs_diff(*number) <= Self::REACH && hook.is_none_or(|hook| hook == self.hook)
        });
        match near {
            None => self.number.fmt(f),
            Some((number, name, _)) if number == self.number => f.write_str(name),
            Some((number, name, _)) => {
                let sign = if self.number < number { '-' } else { '+' };
                write!(f, "{name} {sign} {}", self.number.abs_diff(number))
            }
        }
    }
}
