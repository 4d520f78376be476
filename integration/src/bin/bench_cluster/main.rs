//! `make bench-cluster`: the agent against an API server: the bytes it receives, their cost, memory, the first commit,
//! and the time from a changed slice to the kernel; in protobuf and JSON, over HTTP/2 and HTTP/1.1; and many agents at
//! once.
//!
//! The server is that of the tests or, with `PORTOLAN_TEST_KUBECONFIG`, a real one, for the variants that it serves.

#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

mod awake;
mod fleet;
mod measure;
mod objects;
mod report;
mod results;
mod server;
mod variant;

use std::{process::ExitCode, thread};

use clap::Parser as _;
use portolan_integration::Figures;

use self::{measure::Bench, results::Results, server::Server, variant::Variant};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The costs of an agent, and its costs to an API server.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Numbers of Services.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<u32>,
    /// How many agents start at once, with up to 10,000 Services; 0 for none.
    #[arg(long, default_value_t = 50)]
    agents: usize,
    /// Measure only the protocols and encodings whose names contain this, such as "HTTP/2, protobuf".
    #[arg(long, default_value = "")]
    only: String,
    #[command(flatten)]
    figures: Figures,
}

/// With more Services, many agents do not fit into the memory of most machines.
const FLEET_SIZE: u32 = 10_000;

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_cluster: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let results = arguments.figures.get(|| all(arguments), Results::complete_from)?;
    print!("{}", results.markdown());
    Ok(())
}

/// Measures each size on a thread of its own, since the thread moves to the node's namespace.
fn all(arguments: &Arguments) -> Result<Results> {
    let mut results = Results { machine: portolan_integration::machine(), ..Results::default() };
    let agents = arguments.agents;
    for size in arguments.sizes.iter().copied() {
        let only = arguments.only.clone();
        let measure = move || measure(size, agents, &only).map_err(|error| error.to_string());
        let measured = thread::spawn(measure).join().unwrap_or_else(|_| Err("a panic".into()))?;
        results.is_real |= measured.is_real;
        results.rows.extend(measured.rows);
        results.fleets.extend(measured.fleets);
    }
    Ok(results)
}

fn measure(size: u32, agents: usize, only: &str) -> Result<Results> {
    let mut bench = Bench::new(size)?;
    let is_real = matches!(bench.server, Server::Real(_));
    let mut results = Results { is_real, ..Results::default() };
    for variant in Variant::all() {
        if variant.name().contains(only) && (!is_real || variant.is_for_any_server()) {
            results.rows.push(bench.measure(variant)?);
        }
    }
    // The agents of a fleet leave their tables behind.
    if agents > 0 && size <= FLEET_SIZE {
        results.fleets.push(bench.fleet(size, agents)?);
    }
    Ok(results)
}
