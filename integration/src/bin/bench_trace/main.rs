//! `make bench-trace`: one agent while much happens in a large cluster, at recorded speed and faster.
//!
//! The events come from a synthetic trace ([`portolan_integration::trace`]) with a seed; the API server is that of the
//! tests.

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod ear;
mod play;
mod results;

use std::{process::ExitCode, thread};

use clap::Parser as _;
use portolan_integration::{Figures, trace::Plan};

use self::{play::play, results::Results};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// What an agent does while much happens in a large cluster. Requires root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// The same seed gives the same trace.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many times as fast as recorded; each is a run of its own.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    speed: Vec<u32>,
    /// Nodes.
    #[arg(long, default_value_t = 5_000)]
    nodes: u32,
    /// Services at the beginning.
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// How many Deployments are updated at once.
    #[arg(long, default_value_t = 50)]
    rollouts: u32,
    /// How many Services are created.
    #[arg(long, default_value_t = 1_000)]
    created: u32,
    #[command(flatten)]
    figures: Figures,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_trace: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let results = arguments.figures.get(|| measure(arguments), Results::complete_from)?;
    print!("{}", results.markdown());
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Results> {
    let &Arguments { seed, nodes, services, rollouts, created, .. } = arguments;
    let plan = Plan { seed, nodes, services, rollouts, created };
    let mut results = Results { machine: portolan_integration::machine(), ..Results::default() };
    for speed in arguments.speed.iter().copied() {
        // On a separate thread, whose network namespaces vanish with it.
        let run = move || play(plan, speed).map_err(|error| error.to_string());
        results.runs.push(thread::spawn(run).join().unwrap_or_else(|_| Err("a panic".into()))?);
    }
    Ok(results)
}
