//! The subcommands.

pub mod arguments;
mod check;
mod cleanup;
mod connectivity_test;
mod describe;
mod draw;
mod explain;
mod get;
mod input;
mod oneshot;
mod precheck;
mod run;
mod trace;

use std::{io::Write, process::ExitCode};

use clap_complete::generate;

use crate::{
    cli::arguments::{Command, DescribeCommand, GetCommand, definition},
    text::one_line,
};

/// Runs a subcommand.
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Render(args) => oneshot::render(&args),
        Command::Diff(args) => oneshot::diff(&args),
        Command::Describe { command: DescribeCommand::Service(args) } => describe::service(&args),
        Command::Trace(args) => trace::trace(&args),
        Command::Check(args) => check::check(&args),
        Command::Draw(args) => draw::draw(&args),
        Command::Get { command: GetCommand::Services(args) } => get::get(&args, get::Listed::Services),
        Command::Get { command: GetCommand::Endpoints(args) } => get::get(&args, get::Listed::Endpoints),
        Command::Get { command: GetCommand::Commits(args) } => get::commits(&args),
        Command::Run(args) => run::run(&args),
        Command::Precheck(args) => precheck::precheck(&args),
        Command::ConnectivityTest(args) => connectivity_test::connectivity_test(&args),
        Command::Cleanup(args) => cleanup::cleanup(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            generate(shell, &mut definition(), "portolan", &mut script);
            print(&script)
        }
        Command::Man { subcommand } => man(subcommand.as_deref()),
    }
}

/// Prints the manual page of portolan or of one of its subcommands.
fn man(subcommand: Option<&str>) -> ExitCode {
    let mut definition = definition();
    // Gives the subcommands their full names.
    definition.build();
    let of = match subcommand {
        None => Some(&definition),
        Some(name) => definition.find_subcommand(name),
    };
    let Some(of) = of else {
        eprintln!("portolan: there is no subcommand {:?}", subcommand.unwrap_or_default());
        return ExitCode::FAILURE;
    };
    let mut page = Vec::new();
    match clap_mangen::Man::new(of.clone()).render(&mut page) {
        Ok(()) => print(&page),
        Err(error) => fail(&error),
    }
}

/// Answers a command line that cannot be used: one line and exit status 1 (2 for commands whose 1 means
/// that something was found). Help and version are no errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // The whole help answers a command line without arguments.
        let _ = error.print();
        return ExitCode::FAILURE;
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // Hints and the usage follow after an empty line; so may a value that has one.
    let end = ["\n\n  tip: ", "\n\nUsage: ", "\n\nFor more information"]
        .iter()
        .filter_map(|hint| text.find(hint))
        .min();
    let text = end.and_then(|end| text.get(..end)).unwrap_or(text);
    // clap spreads a list over several lines.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    eprintln!("portolan: {}", lines.collect::<Vec<_>>().join(" "));
    if std::env::args()
        .nth(1)
        .is_some_and(|command| ["connectivity-test", "diff", "precheck"].contains(&&*command))
    {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// Writes to standard output; a reader that has closed it is not an error.
fn print(text: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an error in one line; a quoted name of a file may have several.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("portolan: {}", one_line(error.to_string()));
    ExitCode::FAILURE
}
