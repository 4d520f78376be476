//! The `portolan` binary: reads the command line and runs a subcommand.

use std::process::ExitCode;

use clap::Parser;
use portolan::cli::{
    self,
    arguments::{Cli, normalize},
};

fn main() -> ExitCode {
    cli::complete();
    match Cli::try_parse_from(normalize(std::env::args_os())) {
        Ok(cli) => cli::run(cli.command),
        Err(error) => cli::usage(&error),
    }
}
