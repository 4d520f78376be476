//! Boots Debian's kernels in QEMU, one after the other and without hardware support, and checks that Portolan
//! works on each: its rules are accepted and read back, packets arrive, and the kernel logs no fault.
//!
//! Prints a table in Markdown. Exit status 0 if everything passed on every kernel.

mod checks;
mod command;
mod guest;
mod image;
mod machine;
mod packages;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use checks::Executables;

/// What went wrong before or after the checks themselves.
type Error = Box<dyn std::error::Error>;

/// The series that are tested, each in its latest version, in addition to the newest kernel of all.
const SERIES: [&str; 3] = ["5.10", "6.1", "6.12"];

#[derive(Parser)]
#[command(about = "Test Portolan on Debian's kernels, in virtual machines")]
struct Arguments {
    /// Series to test: 5.10, 6.1, or `newest` [default: all]
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// Also write the table to this file
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs as the first process in the virtual machine
    #[command(hide = true)]
    Guest,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if matches!(arguments.command, Some(Command::Guest)) {
        return guest::run();
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("test_kernels: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Error> {
    let directory = directory()?;
    let wanted: Vec<String> = if arguments.kernels.is_empty() {
        SERIES.into_iter().chain([packages::NEWEST]).map(str::to_owned).collect()
    } else {
        arguments.kernels.clone()
    };
    let kernels = packages::fetch(&directory, &wanted)?;
    let executables = Executables::build(&directory)?;
    let mut reports = Vec::new();
    for kernel in &kernels {
        eprintln!("Linux {} ({})", kernel.version, kernel.package);
        let image = image::build(&directory, kernel, &executables)?;
        let report = machine::boot(&directory, kernel, &image)?;
        report.explain();
        reports.push((kernel, report));
    }
    let table = report::table(&reports);
    print!("{table}");
    if let Some(path) = &arguments.output {
        std::fs::write(path, &table)?;
    }
    Ok(reports.iter().all(|(_, report)| report.has_passed()))
}

/// The directory for packages, images and logs: next to the directory of the running executable.
fn directory() -> Result<PathBuf, Error> {
    let executable = std::env::current_exe()?;
    let target = executable.ancestors().nth(2).ok_or("the executable has no directory")?;
    let directory = target.join("kernels");
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}
