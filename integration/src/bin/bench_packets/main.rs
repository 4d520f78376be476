//! The cost of the first packet of a connection: the time of connect(2) to a Service through different rulesets,
//! interleaved in one run.
//!
//! Each ruleset has its own node between a client and a server, with the same addresses everywhere. One
//! thread makes every connection and accepts it on the other side; nothing leaves the machine.

mod arena;
mod connect;
mod established;
mod part;
mod rate;
mod report;
mod variant;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use portolan_integration::Figures;

use arena::Arena;
use report::Report;
use variant::Variant;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Time of connect(2) to a Service through different rulesets, interleaved in one run. Requires root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// How often every ruleset is measured.
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Connections to each ruleset in a round.
    #[arg(long, default_value_t = 3000)]
    connections: usize,
    /// Connections to one ruleset before the next ruleset's turn.
    #[arg(long, default_value_t = 250)]
    burst: usize,
    /// Rulesets: none, conntrack, floor, portolan-N, kube-proxy-a-N, kube-proxy-b-N (N Services), and the same
    /// with the suffix -bare; part-NAME is our rules with a change; a second `floor` shows how far two equal rulesets
    /// differ.
    #[arg(long, value_delimiter = ',', default_value = variant::DEFAULT)]
    variants: Vec<Variant>,
    /// Instead of --variants: our rules with one part left out or changed, for all such parts.
    #[arg(long, conflicts_with = "variants")]
    parts: bool,
    /// An additional ruleset, NAME=FILE for `nft -f`. It has to lead 172.31.0.1:80 to 10.202.0.2-6, port 8080.
    #[arg(long = "ruleset")]
    rulesets: Vec<Variant>,
    /// Seconds for each ruleset to transfer data over established connections; 0 for none.
    #[arg(long, default_value_t = 2.0)]
    established: f64,
    /// Seconds for each ruleset to make connections as fast as all cores can; 0 for none.
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
    #[command(flatten)]
    figures: Figures,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_packets: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let report = arguments.figures.get(|| measure(arguments), |_, _| ())?;
    println!("{}\n", report.machine);
    println!("Time of connect(2). Ratios are medians of the rounds' own ratios.\n");
    print!("{}", report.markdown());
    Ok(())
}

/// Measures the rulesets in turns.
fn measure(arguments: &Arguments) -> Result<Report> {
    let mut arenas = Vec::new();
    let variants = if arguments.parts { Variant::parts() } else { arguments.variants.clone() };
    for variant in variants.iter().chain(&arguments.rulesets) {
        let arena = Arena::new()?;
        variant.load(&arena).map_err(|error| format!("{variant}: {error}"))?;
        arena.check(variant.target(), variant.balances()).map_err(|error| format!("{variant}: {error}"))?;
        arenas.push((variant, arena));
    }
    let shape = connect::Shape {
        rounds: arguments.rounds,
        connections: arguments.connections,
        burst: arguments.burst,
    };
    let samples = connect::measure(&arenas, &shape)?;
    let turns = if arguments.established > 0.0 {
        established::measure(&arenas, Duration::try_from_secs_f64(arguments.established)?)?
    } else {
        Vec::new()
    };
    let rates = if arguments.rate > 0.0 {
        rate::measure(&arenas, Duration::try_from_secs_f64(arguments.rate)?)?
    } else {
        Vec::new()
    };
    let names: Vec<_> = arenas.iter().map(|(variant, _)| variant.to_string()).collect();
    Ok(Report::new(&names, &samples, &turns, &rates))
}
