//! The start of a new process over the rules of an earlier one: with the same Services, and with some Services replaced
//! by others.

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

/// The time to find that there is nothing to do, and the number of operations that would be committed.
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
    // One Service in a hundred is gone, and as many are new; some of them in the middle of the table.
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

/// A start over the rules of `services` Services, `gone` of which have been replaced by others: the time until
/// everything is committed, and the number of operations. `counts`: whether the kernel reports the number of elements
/// of sets, which kernels before 6.16 do not.
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
