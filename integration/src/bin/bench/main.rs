//! The costs of a cold start, a change, churn and a restart, compared with the kernel's own part and the targets.
//!
//! Every group of rows runs in a process of its own for every size, so that memory and caches belong to it alone, and
//! in network namespaces of its own, so that the machine is not affected.
// Figures are for people: all of them are far below 2^52, and none is negative.
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss)]

mod arena;
mod changes;
mod churn;
mod cold;
mod figure;
mod kernel_memory;
mod live;
mod manifests;
mod memory;
mod neighbour;
mod nft;
mod repair;
mod restart;
mod rows;
mod table;
mod variants;
mod worst;

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use clap::{Parser as _, ValueEnum};

use figure::Figure;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// What a cold start, a change, churn and a restart cost, compared with the kernel's own part and the targets. Requires
/// root.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Numbers of Services, 5 endpoints each.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000])]
    sizes: Vec<u32>,
    /// Only these groups of rows.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Group>,
    /// Write the figures to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure nothing: take the figures that an earlier run wrote with --json.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Show only these rows of the table, by their keys in the file of --json.
    #[arg(long, value_delimiter = ',')]
    keys: Vec<String>,
    /// Longer churn, and every variant at every size.
    #[arg(long)]
    full: bool,
    /// Measure one group for the first size in this process, and print its figures as JSON.
    #[arg(long, hide = true)]
    here: bool,
}

/// Rows that are measured together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    Cold,
    Manifests,
    Nft,
    Changes,
    Churn,
    Restart,
    Repair,
    Neighbour,
    Memory,
    KernelMemory,
    Variants,
    Worst,
    Live,
}

impl Group {
    /// Measures the group's rows in this process.
    fn measure(self, services: u32, full: bool) -> Result<Vec<Figure>> {
        match self {
            Self::Cold => cold::measure(services),
            Self::Manifests => manifests::measure(services),
            Self::Nft => nft::measure(services),
            Self::Changes => changes::measure(services),
            Self::Churn => churn::measure(services, full),
            Self::Restart => restart::measure(services),
            Self::Repair => repair::measure(services),
            Self::Neighbour => neighbour::measure(services),
            Self::Memory => memory::measure(services),
            Self::KernelMemory => kernel_memory::measure(services),
            Self::Variants => variants::measure(services, full),
            // The worst case is the same for more Services, and the others have no target for more.
            Self::Worst | Self::Live if services > 10_000 => Ok(Vec::new()),
            Self::Worst => worst::measure(services),
            Self::Live => live::measure(services),
        }
    }
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(path) = &arguments.from {
        let (machine, results) = table::from_json(&std::fs::read(path)?)?;
        println!("{machine}\n");
        return show(arguments, &results);
    }
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces require root".into());
    }
    let groups = if arguments.rows.is_empty() { Group::value_variants() } else { &arguments.rows };
    if arguments.here {
        let (Some(services), [group]) = (arguments.sizes.first(), groups) else {
            return Err("--here takes one size and one group".into());
        };
        println!("{}", figure::to_json(&group.measure(*services, arguments.full)?));
        return Ok(());
    }
    println!("{}\n", portolan_integration::machine());
    let mut results = Vec::new();
    for &services in &arguments.sizes {
        for &group in groups {
            let figures = elsewhere(group, services, arguments.full)?;
            results.extend(figures.into_iter().map(|figure| (services, figure)));
        }
    }
    show(arguments, &results)?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", table::json(&results)))?;
    }
    Ok(())
}

/// Prints the table.
fn show(arguments: &Arguments, results: &[(u32, Figure)]) -> Result<()> {
    if let Some(key) = arguments.keys.iter().find(|key| results.iter().all(|(_, figure)| figure.row != **key))
    {
        return Err(format!("there is no figure of a row {key:?}").into());
    }
    let is_shown = |row: &str| arguments.keys.is_empty() || arguments.keys.iter().any(|key| key == row);
    let shown: Vec<_> = results.iter().filter(|(_, figure)| is_shown(&figure.row)).cloned().collect();
    print!("{}", table::markdown(&arguments.sizes, &shown));
    Ok(())
}

/// Measures a group in a separate process.
fn elsewhere(group: Group, services: u32, full: bool) -> Result<Vec<Figure>> {
    let name = group.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--here", "--rows", &name, "--sizes", &services.to_string()]).stderr(Stdio::inherit());
    if full {
        command.arg("--full");
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{name} with {services} Services: {}", output.status).into());
    }
    figure::from_json(&output.stdout)
}
