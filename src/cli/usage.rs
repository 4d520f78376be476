//! Command lines that cannot be used.

use std::process::ExitCode;

use clap::{
    Command,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::arguments::definition;

/// Answers a command line that cannot be used: one line, with the nearest name and the help that lists the others, and
/// the status of an error by that command's help. Help and version are no errors.
pub fn usage(error: &Error) -> ExitCode {
    if !error.use_stderr() {
        return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // The whole help answers a command line without arguments.
        let _ = error.print();
        return ExitCode::FAILURE;
    }
    let definition = definition();
    let command = asked(&definition);
    eprintln!("portolan: {}{}", message(error), hint(error, command.map(Command::get_name)));
    error_status(command)
}

/// The command that was asked for, if there is such a command.
pub fn asked(definition: &Command) -> Option<&Command> {
    std::env::args().nth(1).and_then(|name| definition.find_subcommand(name))
}

/// The exit status of an error, which the help of the command says.
pub fn error_status(command: Option<&Command>) -> ExitCode {
    let help = command.and_then(Command::get_after_help).map(ToString::to_string).unwrap_or_default();
    if help.contains(" 2 an error") { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// clap's message, which may have several lines, in one.
fn message(error: &Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // Hints and the usage follow after an empty line; so may a value that has one.
    let end = ["\n\n  tip: ", "\n\nUsage: ", "\n\nFor more information"]
        .iter()
        .filter_map(|hint| text.find(hint))
        .min();
    let lines = end.and_then(|end| text.get(..end)).unwrap_or(text).lines();
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The nearest name to one that does not exist, and where all names are listed.
fn hint(error: &Error, command: Option<&str>) -> String {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let guess = kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(name) => Some(name.clone()),
        ContextValue::Strings(names) => names.first().cloned(),
        _ => None,
    });
    let guess = guess.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let is_about_names = matches!(
        error.kind(),
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument | ErrorKind::MissingRequiredArgument
    );
    if !is_about_names {
        return guess;
    }
    let separator = if guess.is_empty() { "; see" } else { " See" };
    let command = command.map(|command| format!(" {command}")).unwrap_or_default();
    format!("{guess}{separator} portolan{command} --help")
}
