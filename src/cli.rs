//! The subcommands.

pub mod arguments;
mod bundle;
mod check;
mod cleanup;
mod columns;
mod completions;
mod connectivity_test;
mod describe;
mod diff;
mod draw;
mod explain;
mod flows;
mod get;
mod input;
mod man;
mod oneshot;
mod output;
mod precheck;
mod run;
mod top;
mod trace;
mod usage;
mod version;
mod wrap;

use std::process::ExitCode;

use self::{arguments::Command, describe::DescribeCommand, get::GetCommand, output::CommandError};
pub use self::{completions::complete, usage::usage};

/// Runs a subcommand.
pub fn run(command: Command) -> ExitCode {
    let ended = match command {
        Command::Render(args) => oneshot::render(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Describe { command: DescribeCommand::Service(args) } => describe::service(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Check(args) => check::check(&args),
        Command::Draw(args) => draw::draw(&args),
        Command::Get { command: GetCommand::Services(args) } => get::get(&args, get::Listed::Services),
        Command::Get { command: GetCommand::Endpoints(args) } => get::get(&args, get::Listed::Endpoints),
        Command::Get { command: GetCommand::Commits(args) } => get::commits::commits(&args),
        Command::Flows(args) => flows::flows(&args),
        Command::Top(args) => top::top(&args),
        Command::SupportBundle(args) => bundle::bundle(&args),
        Command::Run(args) => run::run(&args),
        Command::Precheck(args) => precheck::precheck(&args),
        Command::ConnectivityTest(args) => connectivity_test::connectivity_test(&args),
        Command::Cleanup(args) => cleanup::cleanup(&args),
        Command::Completions { shell } => completions::script(shell),
        Command::Man { command } => man::man(&command),
        Command::Version { output } => version::version(output),
    };
    ended.unwrap_or_else(|failure| {
        failure.report();
        match failure {
            CommandError::Missing(_) => ExitCode::FAILURE,
            _ => usage::error_status(usage::asked(&arguments::definition())),
        }
    })
}
