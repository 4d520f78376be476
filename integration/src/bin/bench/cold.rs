//! A cold start, from state in memory to the commit.

use std::time::Duration;

use portolan::{
    agent::{ColdStart, cold_start},
    kernel::nftables::Tables,
};
use portolan_integration::{
    plan,
    synthetic::{Kinds, Synthetic},
};
use portolan_rules::{
    compile::Loaded,
    ruleset::{Ruleset, Transaction},
    state::State,
};

use super::{
    Result,
    arena::{best, compiler, cpu, fresh_kernel, median, retire},
    figure::Figure,
};

/// How often each start is measured.
const ROUNDS: usize = 5;
/// The same, if a start takes only milliseconds.
const MORE_ROUNDS: usize = 25;

/// The rows of the main table.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let cold = Cold::measure(services, Kinds::Plain)?;
    let (ours, floor) = (cold.cpu.as_secs_f64(), cold.floor_cpu.as_secs_f64());
    let cpu = Figure::new("cold-cpu", ours / floor);
    let longest = Figure::new("longest", cold.longest.as_secs_f64());
    Ok(vec![
        cold.figure("cold"),
        cpu.with(format!("{:.1} ÷ {:.1} ms", ours * 1e3, floor * 1e3)),
        longest.with(cold.transactions.to_string()),
    ])
}

/// The measured times: the best of some rounds, in which the rest of the machine interfered least.
#[derive(Debug)]
pub struct Cold {
    /// The time of our start.
    pub elapsed: Duration,
    /// The kernel's time for all of it as one batch, encoded beforehand.
    floor: Duration,
    /// The CPU times of both, the median of the rounds: the smallest may be below what is counted.
    cpu: Duration,
    floor_cpu: Duration,
    longest: Duration,
    transactions: usize,
}

impl Cold {
    /// Measures both alternately.
    pub fn measure(services: u32, kinds: Kinds) -> Result<Self> {
        let mut state = Synthetic::new(services, kinds).state();
        let mut whole = compiler();
        whole.load(&mut state, &Ruleset::default());
        let batch = plan::creation(&whole);
        drop(whole);
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        let (mut cpus, mut floor_cpus) = (Vec::new(), Vec::new());
        for _ in 0..if services > 1_000 { ROUNDS } else { MORE_ROUNDS } {
            let (floor, cpu) = floor(&batch)?;
            floors.push(floor);
            floor_cpus.push(cpu);
            let (start, cpu) = once(&mut state)?;
            ours.push(start);
            cpus.push(cpu);
        }
        let of = |time: fn(&ColdStart) -> Duration| best(ours.iter().map(time));
        Ok(Self {
            elapsed: of(|start| start.elapsed),
            floor: best(floors),
            cpu: median(cpus),
            floor_cpu: median(floor_cpus),
            longest: of(|start| start.longest),
            transactions: ours.first().map_or(0, |start| start.transactions),
        })
    }

    /// Our time ÷ the floor, in a row with this key.
    pub fn figure(&self, row: &str) -> Figure {
        let (ours, floor) = (self.elapsed.as_secs_f64(), self.floor.as_secs_f64());
        Figure::new(row, ours / floor).with(format!("{:.1} ÷ {:.1} ms", ours * 1e3, floor * 1e3))
    }
}

/// The kernel's time for a batch in a new namespace, and the CPU time.
fn floor(batch: &Transaction) -> Result<(Duration, Duration)> {
    let mut kernel = fresh_kernel()?;
    let before = cpu()?;
    let commit = kernel.commit(batch)?;
    let used = cpu()?.saturating_sub(before).saturating_sub(commit.encode);
    retire(kernel)?;
    Ok((commit.kernel, used))
}

/// One cold start in a new namespace, and its CPU time.
pub fn once(state: &mut State) -> Result<(ColdStart, Duration)> {
    let (mut kernel, mut compiler) = (fresh_kernel()?, compiler());
    let before = cpu()?;
    let (done, result) = cold_start(&mut kernel, &mut compiler, state);
    let used = cpu()?.saturating_sub(before);
    result?;
    if !matches!(done.loaded, Loaded::Complete(_)) {
        return Err("the cold start did not complete".into());
    }
    retire(kernel)?;
    Ok((done, used))
}
