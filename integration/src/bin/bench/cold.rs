//! A cold start, from state in memory to committed.

use std::time::Duration;

use portolan::agent::{ColdStart, cold_start};
use portolan_integration::synthetic::{Kinds, Synthetic};
use portolan_rules::{compile::Loaded, ruleset::Ruleset, state::State, transaction::Transaction};

use super::{
    Result,
    arena::{best, compiler, fresh_kernel, retire},
    figure::Figure,
};

/// How often each is measured.
const ROUNDS: usize = 3;
/// The same where it takes some milliseconds only.
const MORE_ROUNDS: usize = 9;

/// The rows of the main table.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let cold = Cold::measure(services, Kinds::Plain)?;
    let longest = Figure::new("longest", cold.longest.as_secs_f64());
    Ok(vec![cold.figure("cold"), longest.with(cold.transactions.to_string())])
}

/// What was measured: the best of some rounds, which is what least else of the machine was in.
#[derive(Debug)]
pub struct Cold {
    /// Ours.
    pub elapsed: Duration,
    /// The kernel's time for all of it as one batch, encoded beforehand.
    floor: Duration,
    longest: Duration,
    transactions: usize,
}

impl Cold {
    /// Measures both in turns.
    pub fn measure(services: u32, kinds: Kinds) -> Result<Self> {
        let mut state = Synthetic::new(services, kinds).state();
        let mut whole = compiler();
        whole.load(&mut state, &Ruleset::default());
        let batch = whole.creation();
        drop(whole);
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..if services > 1_000 { ROUNDS } else { MORE_ROUNDS } {
            floors.push(floor(&batch)?);
            ours.push(once(&mut state)?);
        }
        let of = |time: fn(&ColdStart) -> Duration| best(ours.iter().map(time));
        Ok(Self {
            elapsed: of(|start| start.elapsed),
            floor: best(floors),
            longest: of(|start| start.longest),
            transactions: ours.first().map_or(0, |start| start.transactions),
        })
    }

    /// Ours ÷ the floor, in a row of this key.
    pub fn figure(&self, row: &str) -> Figure {
        let (ours, floor) = (self.elapsed.as_secs_f64(), self.floor.as_secs_f64());
        Figure::new(row, ours / floor).with(format!("{:.1} ÷ {:.1} ms", ours * 1e3, floor * 1e3))
    }
}

/// The kernel's time for a batch in a namespace of its own.
fn floor(batch: &Transaction) -> Result<Duration> {
    let mut kernel = fresh_kernel()?;
    let commit = kernel.commit(batch)?;
    retire(kernel)?;
    Ok(commit.kernel)
}

/// One cold start in a namespace of its own.
pub fn once(state: &mut State) -> Result<ColdStart> {
    let (mut kernel, mut compiler) = (fresh_kernel()?, compiler());
    let (done, result) = cold_start(&mut kernel, &mut compiler, state);
    result?;
    let done = done.filter(|done| matches!(done.loaded, Loaded::Complete(_)));
    let done = done.ok_or("the cold start came to no end")?;
    retire(kernel)?;
    Ok(done)
}
