mod random;
mod semantics;
mod services;
mod state;

use std::net::IpAddr;

use super::{Case, Fate, Host, Input, Memory, Outcome, Packet, Step, simulate};
use crate::ruleset::{
    BaseChain, Chain, ChainType, Expression, Family, Field, Hook, MatchValue, Rule, Ruleset, Set, Statement,
    Table, Verdict, WritableField,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A node with the address 10.0.0.1 or `fd00::1`.
fn host() -> Host {
    let addresses: [IpAddr; 2] = [[10, 0, 0, 1].into(), "fd00::1".parse().unwrap()];
    Host { local_addresses: addresses.into() }
}

/// A TCP packet that arrives at `eth0`.
fn packet(source: IpAddr, destination: IpAddr, port: u16) -> Packet {
    Packet {
        source,
        destination,
        protocol: TCP,
        source_port: 40_000,
        destination_port: port,
        input: Input::Interface("eth0".into()),
    }
}

/// From 192.0.2.1 to 198.51.100.1, through this node.
fn passing() -> Packet {
    packet([192, 0, 2, 1].into(), [198, 51, 100, 1].into(), 80)
}

/// From 192.0.2.1 to this node.
fn arriving() -> Packet {
    packet([192, 0, 2, 1].into(), [10, 0, 0, 1].into(), 80)
}

/// From this node to 198.51.100.1.
fn leaving() -> Packet {
    Packet { input: Input::Local, ..packet([10, 0, 0, 1].into(), [198, 51, 100, 1].into(), 80) }
}

fn table(chains: impl IntoIterator<Item = Chain>, sets: impl IntoIterator<Item = Set>) -> Ruleset {
    let mut table = Table::new("t");
    for chain in chains {
        table.add_chain(chain);
    }
    for set in sets {
        table.add_set(set);
    }
    Ruleset { tables: [(Family::Ip, table)].into() }
}

fn base(name: &str, chain_type: ChainType, hook: Hook, priority: i32, rules: Vec<Rule>) -> Chain {
    Chain::base(name, BaseChain { chain_type, hook, priority }, rules)
}

/// A filter chain that every arriving packet meets first.
fn entry(rules: Vec<Rule>) -> Chain {
    base("entry", ChainType::Filter, Hook::Prerouting, 0, rules)
}

fn rule<const N: usize>(statements: [Statement; N]) -> Rule {
    Rule::new(statements)
}

/// A rule that leaves a trace: the mark.
fn mark(value: u32) -> Rule {
    rule([set_mark(Expression::Constant(value))])
}

fn set_mark(value: Expression) -> Statement {
    Statement::set(WritableField::Mark, value)
}

fn set_priority(value: Expression) -> Statement {
    Statement::set(WritableField::Priority, value)
}

/// A rule that drops packets with this mark.
fn drop_marked(value: u32) -> Rule {
    rule([Statement::equal(Field::Mark, MatchValue::Number(value)), Statement::Verdict(Verdict::Drop)])
}

fn run(ruleset: &Ruleset, packet: &Packet) -> Outcome {
    simulate(ruleset, &host(), packet, &Memory::new())
}

/// The only case.
fn only(ruleset: &Ruleset, packet: &Packet) -> Case {
    let mut outcome = run(ruleset, packet);
    assert_eq!(outcome.cases.len(), 1, "{outcome:?}");
    outcome.cases.remove(0)
}

fn fate(ruleset: &Ruleset, packet: &Packet) -> Fate {
    only(ruleset, packet).fate
}

/// Where a packet has been, as `chain/rule`.
fn way(case: &Case) -> Vec<String> {
    case.steps.iter().map(|Step { chain, rule, .. }| format!("{chain}/{rule}")).collect()
}
