//! What a ruleset does with a packet, without a kernel.
//!
//! [`simulate`](fn@simulate) reads the ruleset only, never the Services it was compiled from, so it can
//! contradict the compiler. It walks the hooks as the kernel does for the first packet of a connection
//! and keeps to the kernel's semantics: registers, rules that end at a failed test, jump and goto, base
//! chains in order of priority, one translation a direction. Random choices are not drawn but enumerated,
//! so the answer is an exact distribution.
//!
//! What it leaves out: other tables than the ruleset's, routing beyond "is the destination local",
//! ports and addresses that a masquerade picks (rules after one see the old source), and the bias of at
//! most 2⁻³² that the kernel's `numgen random` has when its modulus is no power of two.

mod evaluate;
mod explain;
mod jhash;
mod memory;
mod moment;
mod outcome;
mod probability;
mod rule;
#[cfg(test)]
mod tests;
mod walk;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use indexmap::{IndexMap, map::Entry};

use self::walk::{Course, Draw, Draws, Machine, Stop};
pub use self::{
    explain::explain,
    memory::{Action, Memory, Update},
    moment::{Lookups, Moment},
    outcome::{Case, Decision, Effect, Fate, Outcome, Step, UnknownReason},
    probability::Probability,
};
use crate::ruleset::Ruleset;

/// Where a packet comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It arrives at this interface.
    Interface(Arc<str>),
    /// This node sends it.
    Local,
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address; of the same family as the destination.
    pub source: IpAddr,
    /// Destination address. Its family selects the table.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port, or what stands in its place in the transport header.
    pub source_port: u16,
    /// Destination port, or what stands in its place in the transport header.
    pub destination_port: u16,
    /// Where it comes from.
    pub input: Input,
}

/// What the simulator must know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its addresses, which the kernel delivers to itself; those of the loopback net need not be listed.
    pub local_addresses: BTreeSet<IpAddr>,
}

impl Host {
    /// Whether `fib … type local` is true of an address.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local_addresses.contains(&address)
    }
}

/// Bounds on the work for one packet; what lies beyond them becomes [`Fate::Unknown`].
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Rules evaluated, over all random choices.
    rules: usize,
    /// Rules evaluated on one way through the hooks.
    rules_per_course: usize,
    /// Random choices on one way.
    draws: usize,
    /// Greatest number of values of one random choice.
    modulus: u32,
}

const LIMITS: Limits = Limits { rules: 4_000_000, rules_per_course: 65_536, draws: 64, modulus: 65_536 };

/// Says what becomes of `packet` at a node with these rules.
///
/// Elements of dynamic sets are read from `memory`, which is not changed: each [`Case`] tells what it
/// would add, and [`Memory::remember`] adds that of the case that is to be pursued.
///
/// It ends for every ruleset, also one that the kernel would refuse; what has no meaning or takes too
/// long has [`Fate::Unknown`] or is marked in the [`Step`]s, and the case is not
/// [certain](Case::is_certain).
pub fn simulate(ruleset: &Ruleset, host: &Host, packet: &Packet, memory: &Memory) -> Outcome {
    simulate_within(LIMITS, ruleset, host, packet, memory)
}

fn simulate_within(
    limits: Limits,
    ruleset: &Ruleset,
    host: &Host,
    packet: &Packet,
    memory: &Memory,
) -> Outcome {
    let machine = Machine::new([ruleset; 2], host, packet, memory, limits.rules_per_course);
    every_course(limits, &machine)
}

/// Follows every way that a packet may take.
fn every_course(limits: Limits, machine: &Machine<'_>) -> Outcome {
    let mut cases: IndexMap<(Fate, Vec<Update>), Case> = IndexMap::new();
    let mut record = |case: Case| match cases.entry((case.fate, case.updates.clone())) {
        Entry::Vacant(new) => {
            new.insert(case);
        }
        Entry::Occupied(mut alike) => alike.get_mut().absorb(&case),
    };
    // Each way through the hooks is a sequence of draws; they are counted up like an odometer.
    let mut draws: Vec<Draw> = Vec::new();
    let mut evaluated = 0;
    loop {
        let mut course = Course::new(machine, Draws::Given(draws.iter()));
        let fate = match course.run() {
            Ok(fate) | Err(Stop::End(fate)) => fate,
            Err(Stop::Draw(modulus)) if modulus > limits.modulus || draws.len() >= limits.draws => {
                Fate::Unknown(UnknownReason::TooManyChoices)
            }
            Err(Stop::Draw(modulus)) => {
                draws.push(Draw { value: 0, modulus });
                continue;
            }
        };
        evaluated += course.evaluated();
        record(course.into_case(fate, Probability::of_draws(draws.iter().map(|draw| draw.modulus))));
        if !next(&mut draws) {
            break;
        }
        if evaluated > limits.rules {
            record(Case::cut_off(Probability::left(&draws)));
            break;
        }
    }
    Outcome { cases: cases.into_values().collect() }
}

/// The next sequence of draws; whether there is one.
fn next(draws: &mut Vec<Draw>) -> bool {
    while let Some(last) = draws.last_mut() {
        last.value += 1;
        if last.value < last.modulus {
            return true;
        }
        draws.pop();
    }
    false
}
