//! Compares the kernel's rules with those that Portolan writes.
//!
//! A rule from the kernel is not translated back. Instead the expected rule at its position is translated as if it were
//! to be written, and both are normalized. That leaves out what the kernel adds, which depends on its version.

use portolan_rules::ruleset::{Family, Rule, Statement, Verdict};

use super::{
    attributes::{Attribute, Attributes},
    libnftnl::Scratch,
    linearize::linearize,
    uapi::*,
    verdict::parse_verdict,
    wire,
};

/// A rule's normalized expressions: rules with the same meaning to the kernel have the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    bytes: Vec<u8>,
    /// The names of the expressions.
    pub(super) names: Vec<String>,
    /// The rule's verdict.
    target: Option<Verdict>,
}

impl Program {
    /// Reads the attributes of a rule.
    pub(super) fn read(rule: Attributes<'_>) -> Self {
        let mut program = Self::default();
        for expression in rule.nested(NFTA_RULE_EXPRESSIONS).iter() {
            let name = expression.nested().string(NFTA_EXPR_NAME).unwrap_or("?");
            program.add(name, expression.nested().nested(NFTA_EXPR_DATA));
        }
        program
    }

    /// Translates a rule that Portolan writes; `None` if the kernel cannot hold it.
    pub(super) fn of(family: Family, rule: &Rule, scratch: &mut Scratch) -> Option<Self> {
        let expressions = linearize(family, rule).ok()?;
        scratch.rule(&expressions).ok().map(|rule| Self::read(Attributes(rule)))
    }

    fn add(&mut self, name: &str, data: Attributes<'_>) {
        if is_idle(name, data) {
            return;
        }
        if name == "immediate" {
            self.target = parse_verdict(data.nested(NFTA_IMMEDIATE_DATA).nested(NFTA_DATA_VERDICT));
        }
        let mut attributes: Vec<Attribute<'_>> = data.iter().collect();
        attributes.retain(|attribute| !is_implied(name, attribute, data));
        attributes.sort_by_key(|attribute| attribute.kind);
        wire::string(&mut self.bytes, NFTA_EXPR_NAME, name);
        wire::nest(&mut self.bytes, NFTA_EXPR_DATA, |bytes| {
            for attribute in attributes {
                put(bytes, attribute, holds_data(name, attribute.kind));
            }
        });
        self.names.push(name.to_owned());
    }

    /// Describes a rule that Portolan does not write: the names of its expressions, and the chain that it jumps to.
    pub(super) fn describe(&self) -> Rule {
        let mut statements = vec![Statement::Foreign(self.names.join(", "))];
        let leads = |verdict: &&Verdict| matches!(verdict, Verdict::Jump(_) | Verdict::Goto(_));
        statements.extend(self.target.iter().filter(leads).cloned().map(Statement::Verdict));
        Rule::new(statements)
    }
}

/// Appends an attribute; if `is_nest` is set, with the attributes nested in it.
fn put(bytes: &mut Vec<u8>, attribute: Attribute<'_>, is_nest: bool) {
    if !is_nest {
        return wire::attribute(bytes, attribute.kind, attribute.value);
    }
    wire::nest(bytes, attribute.kind, |bytes| {
        attribute.nested().iter().for_each(|inner| put(bytes, inner, inner.kind == NFTA_DATA_VERDICT));
    });
}

/// Whether an expression has no effect: a `byteorder` of a single byte in place, which nft writes before it looks up a
/// protocol number in a set of ranges.
fn is_idle(name: &str, data: Attributes<'_>) -> bool {
    let [length, from, to] =
        [NFTA_BYTEORDER_LEN, NFTA_BYTEORDER_SREG, NFTA_BYTEORDER_DREG].map(|kind| data.number(kind));
    name == "byteorder" && length == Some(1) && from.is_some() && from == to
}

/// Whether an attribute has its default value: some kernels leave it out, or only nft writes it.
fn is_implied(name: &str, attribute: &Attribute<'_>, all: Attributes<'_>) -> bool {
    let is_zero = attribute.value.iter().all(|byte| *byte == 0);
    let repeats = |kind| all.find(kind).is_some_and(|other| other.value == attribute.value);
    match (name, attribute.kind) {
        ("bitwise", NFTA_BITWISE_OP)
        | ("dynset", NFTA_DYNSET_FLAGS | NFTA_DYNSET_TIMEOUT)
        | ("hash", NFTA_HASH_OFFSET | NFTA_HASH_TYPE)
        | ("lookup", NFTA_LOOKUP_FLAGS)
        | ("masq", NFTA_MASQ_FLAGS)
        | ("numgen", NFTA_NG_OFFSET) => is_zero,
        ("dynset", NFTA_DYNSET_PAD) => true,
        // The kernel adds what nft leaves out: the maxima, and the two flags for the minima that are set.
        ("nat", NFTA_NAT_REG_ADDR_MAX) => repeats(NFTA_NAT_REG_ADDR_MIN),
        ("nat", NFTA_NAT_REG_PROTO_MAX) => repeats(NFTA_NAT_REG_PROTO_MIN),
        ("nat", NFTA_NAT_FLAGS) => {
            let implied = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
            attribute.number().is_some_and(|flags| flags & !implied == 0)
        }
        // The kernel keeps a code only for the types that have one.
        ("reject", NFTA_REJECT_ICMP_CODE) => all.flags(NFTA_REJECT_TYPE) == NFT_REJECT_TCP_RST,
        _ => false,
    }
}

/// Whether an attribute of an expression holds data: a value or a verdict.
fn holds_data(name: &str, kind: u16) -> bool {
    matches!(
        (name, kind),
        ("bitwise", NFTA_BITWISE_MASK | NFTA_BITWISE_XOR)
            | ("cmp", NFTA_CMP_DATA)
            | ("immediate", NFTA_IMMEDIATE_DATA)
    )
}
