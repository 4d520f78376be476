//! Describes an outcome for people.

use std::fmt::{self, Write};

use indexmap::IndexMap;

use super::outcome::{Case, Decision, Effect, Outcome, Step};
use crate::ruleset::{Hook, Name};

/// Describes an outcome: what may happen and how likely it is, then the rules that lead there. Cases that take the
/// same way, such as the cases of a random choice, share one list of rules, which shows the first case.
pub fn explain(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing into a `String` does not fail.
    let _ = write(outcome, &mut text);
    text
}

/// Two ways are alike if they have the same rules, and the same rules matched.
type Way<'a> = Vec<(Hook, &'a Name, usize, bool)>;

fn write(outcome: &Outcome, out: &mut String) -> fmt::Result {
    for (fate, probability) in outcome.fates() {
        writeln!(out, "{probability:>8}  {fate}")?;
    }
    let mut ways: IndexMap<Way<'_>, Vec<&Case>> = IndexMap::new();
    for case in &outcome.cases {
        ways.entry(case.steps.iter().map(place).collect()).or_default().push(case);
    }
    for cases in ways.values() {
        let Some(first) = cases.first() else { continue };
        write!(out, "\n{} ({})", first.fate, first.probability)?;
        if cases.len() > 1 {
            write!(out, ", and {} more this way", cases.len() - 1)?;
        }
        writeln!(out)?;
        ladder(&first.steps, out)?;
        if !first.is_certain() {
            writeln!(out, "  not certain: the simulator does not know all of this")?;
        }
    }
    Ok(())
}

fn place(step: &Step) -> (Hook, &Name, usize, bool) {
    (step.hook, &step.chain, step.rule, matches!(step.decision, Decision::NoMatch(_)))
}

fn ladder(steps: &[Step], out: &mut String) -> fmt::Result {
    let mut hook = None;
    for step in steps {
        if hook != Some(step.hook) {
            hook = Some(step.hook);
            writeln!(out, "  {}", step.hook.name())?;
        }
        let indent = 4 + 2 * step.depth;
        writeln!(out, "{:indent$}{} {}: {}", "", step.chain, step.rule + 1, step.text)?;
        let effects = step.effects.iter().map(Effect::to_string);
        let all: Vec<_> = effects.chain([step.decision.to_string()]).collect();
        writeln!(out, "{:indent$}  -> {}", "", all.join("; "))?;
    }
    Ok(())
}
