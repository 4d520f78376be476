//! The cost of loading and of one change of the same Services with kube-proxy's shapes and with Portolan, in one run;
//! and a picture of it.

// Counts are small.
#![allow(clippy::cast_precision_loss)]

mod figure;
mod measure;
mod results;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser as _;
use portolan_integration::{Figures, kube_proxy::Shape};

use results::{Cost, Results, Row, System};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Load and change of the same Services with kube-proxy's rules (shapes A and B) and with ours. Requires root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Numbers of Services, ascending.
    #[arg(long, value_delimiter = ',', default_value = "100,300,1000,3000,10000,30000,100000")]
    sizes: Vec<u32>,
    /// Longest that one load may take, in seconds. The kernel cannot be stopped within a transaction: a load that would
    /// take longer, going by the previous size, is not started.
    #[arg(long, default_value_t = 60.0)]
    limit: f64,
    /// Draw the figures in this file.
    #[arg(long)]
    svg: Option<PathBuf>,
    #[command(flatten)]
    figures: Figures,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_peers: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let results = arguments.figures.get(|| all(arguments), |_, _| ())?;
    print!("{}", results.markdown());
    if let Some(path) = &arguments.svg {
        std::fs::write(path, figure::svg(&results))?;
    }
    Ok(())
}

/// Measures one system after another, and last the system that the kernel takes longest to free: the kernel's threads
/// free the contents of a namespace later, which would disturb the next measurement.
fn all(arguments: &Arguments) -> Result<Results> {
    let mut rows: Vec<Row> = Vec::new();
    for system in [System::Portolan, System::SameRules, System::ShapeA, System::ShapeB] {
        for &services in &arguments.sizes {
            let expected = expected(&rows, system, services);
            let cost = if expected > arguments.limit {
                Cost { not_run: Some(expected), ..Cost::default() }
            } else {
                eprintln!("{services} Services, {system}");
                let cost = match system {
                    System::Portolan => measure::portolan(services)?,
                    System::SameRules => measure::same_rules(services)?,
                    System::ShapeA => measure::kube_proxy(Shape::A, services)?,
                    System::ShapeB => measure::kube_proxy(Shape::B, services)?,
                };
                let pause = cost.load.unwrap_or(0.0) / 4.0;
                std::thread::sleep(Duration::from_secs_f64(pause.clamp(0.2, 3.0)));
                cost
            };
            rows.push(Row { services, system, cost });
        }
    }
    rows.sort_by_key(|row| row.services);
    Ok(Results { machine: portolan_integration::machine(), rows })
}

/// The seconds that a load would take, estimated from the last size that was loaded: quadratic for systems with an
/// anonymous set for each Service, linear for the others.
fn expected(rows: &[Row], system: System, services: u32) -> f64 {
    let done = |row: &&Row| row.system == system && row.cost.load.is_some();
    rows.iter().rev().find(done).map_or(0.0, |row| {
        let growth = f64::from(services) / f64::from(row.services);
        let power = match system {
            System::ShapeA | System::ShapeB => 2,
            System::Portolan | System::SameRules => 1,
        };
        row.cost.load.unwrap_or(0.0) * growth.powi(power)
    })
}
