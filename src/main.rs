//! The `portolan` binary: reads the command line and runs a subcommand.

use std::process::ExitCode;

use clap::Parser;
use portolan::{
    cli::{Cli, normalize},
    commands,
};

fn main() -> ExitCode {
    match Cli::try_parse_from(normalize(std::env::args_os())) {
        Ok(cli) => commands::run(cli.command),
        Err(error) => commands::usage(&error),
    }
}
