//! What a new process does that finds the work of an earlier one.

use std::time::Instant;

use portolan::agent::compare_at_start;
use portolan_integration::synthetic::Kinds;
use portolan_rules::ruleset::diff::diff_into;

use super::{
    Result,
    arena::{Arena, best, compiler},
    figure::Figure,
};

const ROUNDS: usize = 3;

/// How long it takes to see that there is nothing to do, and how much it would do.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let mut arena = Arena::new(services, Kinds::Plain)?;
    let (mut times, mut most) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let comparison = compare_at_start(&mut arena.kernel, &compiler(), &mut arena.state)?;
        let comparison = comparison.ok_or("the tables are gone")?;
        let table = comparison.compiler.config().table.clone();
        let operations =
            comparison.desired.map_or(0, |desired| diff_into(&table, &comparison.present, desired).len());
        times.push(started.elapsed());
        most = most.max(operations);
    }
    Ok(vec![Figure::new("restart", best(times).as_secs_f64()), Figure::new("rewritten", most as f64)])
}
