//! Every way that a packet may take: all random choices, one after the other.

use indexmap::{IndexMap, map::Entry};

use super::{
    draws::{Draw, Draws},
    memory::Memory,
    outcome::{Case, Fate, Outcome, SetWrite, UnknownReason},
    packet::{Host, Packet},
    probability::Probability,
    walk::{Course, Machine, Stop},
};
use crate::ruleset::Ruleset;

/// Bounds on the work for one packet; everything beyond them is [`Fate::Unknown`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Rules evaluated, over all random choices.
    pub(super) rules: usize,
    /// Rules evaluated on one way through the hooks.
    pub(super) rules_per_course: usize,
    /// Random choices on one way.
    pub(super) draws: usize,
    /// Greatest number of values of one random choice.
    pub(super) modulus: u32,
}

pub(super) const LIMITS: Limits =
    Limits { rules: 4_000_000, rules_per_course: 65_536, draws: 64, modulus: 65_536 };

/// Computes what becomes of `packet` at a node with these rules.
///
/// Elements of dynamic sets are read from `memory`, which is not changed: each [`Case`] lists its changes to them, and
/// [`Memory::remember`] makes the changes of the case that the caller pursues.
///
/// The simulation ends for every ruleset, including rulesets that the kernel would refuse. A rule without a meaning is
/// marked in the [`Step`](super::Step)s, and a way that takes too long has [`Fate::Unknown`]; in both cases the
/// [`Case`] is not [certain](Case::is_certain).
pub fn simulate(ruleset: &Ruleset, host: &Host, packet: &Packet, memory: &Memory) -> Outcome {
    simulate_within(LIMITS, ruleset, host, packet, memory)
}

pub(super) fn simulate_within(
    limits: Limits,
    ruleset: &Ruleset,
    host: &Host,
    packet: &Packet,
    memory: &Memory,
) -> Outcome {
    let machine = Machine::new([ruleset; 2], host, packet, memory, limits.rules_per_course);
    let mut cases: IndexMap<(Fate, Vec<SetWrite>), Case> = IndexMap::new();
    let mut record = |case: Case| match cases.entry((case.fate, case.updates.clone())) {
        Entry::Vacant(new) => {
            new.insert(case);
        }
        Entry::Occupied(mut alike) => alike.get_mut().absorb(&case),
    };
    // Each way through the hooks is a sequence of draws. The sequences are counted up like an odometer.
    let mut draws: Vec<Draw> = Vec::new();
    let mut evaluated = 0;
    loop {
        let mut course = Course::new(&machine, Draws::Given(draws.iter()));
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

/// Advances to the next sequence of draws. Returns whether there is one.
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
