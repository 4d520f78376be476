//! The `portolan` binary: reads the command line and runs a subcommand.

use std::process::ExitCode;

use clap::Parser;
use portolan::{cli::Cli, commands};

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => commands::run(cli.command),
        Err(error) => commands::usage(&error),
    }
}
