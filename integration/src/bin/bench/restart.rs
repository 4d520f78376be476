//! What a new process does that finds the work of an earlier one: of the same Services, and of some that are gone while others
//! have come.

use std::time::{Duration, Instant};

use portolan::{agent::compare_at_start, kernel::nftables::Kernel};
use portolan_integration::{
    Around, Counting,
    synthetic::{Kinds, Synthetic},
};
use portolan_rules::ruleset::diff::diff_into;

use super::{
    Result,
    arena::{Arena, best, compiler, fresh_kernel, retire},
    figure::Figure,
    neighbour::agent,
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
    retire(arena.kernel)?;
    let mut figures =
        vec![Figure::new("restart", best(times).as_secs_f64()), Figure::new("rewritten", most as f64)];
    // One in a hundred is gone, and as many have come; some of them in the middle of the table.
    let gone = services / 100;
    for (row, counts) in [("restart-changed", true), ("restart-changed-uncounted", false)] {
        let (took, operations) = changed(services, gone, counts)?;
        figures.push(
            Figure::new(row, took.as_secs_f64())
                .with(format!("{gone} gone, {gone} new, {operations} operations")),
        );
    }
    Ok(figures)
}

/// A start over the rules of as many Services, of which so many are gone while others have come: until all is committed, and
/// with how many operations. The kernel says how many elements sets have, or, as those before 6.16, does not.
fn changed(services: u32, gone: u32, counts: bool) -> Result<(Duration, usize)> {
    let synthetic = Synthetic::new(services + gone, Kinds::Plain);
    let before: Vec<u32> = (0..services).collect();
    let mut first = agent(&synthetic, before, fresh_kernel()?);
    first.sync()?;
    drop(first);
    let after: Vec<u32> = (0..services + gone).filter(|n| *n >= services || n % 100 != 7).collect();
    let kernel = Around::open(Counting(counts))?;
    let mut second = agent(&synthetic, after, kernel);
    let started = Instant::now();
    let synced = second.sync()?;
    let took = started.elapsed();
    drop(second);
    retire(Kernel::open()?)?;
    Ok((took, synced.operations))
}
