//! Answers to invalid command lines.

use std::process::ExitCode;

use clap::{
    Command,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};

use super::arguments::definition;

/// Answers an invalid command line in one line, with the nearest name and the help that lists all names. Returns the
/// exit status that the command's help states for errors. Help and version are not errors.
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

/// Returns the command that was asked for, if it exists.
pub fn asked(definition: &Command) -> Option<&Command> {
    std::env::args().nth(1).and_then(|name| definition.find_subcommand(name))
}

/// Returns the exit status that the command's help states for errors.
pub fn error_status(command: Option<&Command>) -> ExitCode {
    let help = command.and_then(Command::get_after_help).map(ToString::to_string).unwrap_or_default();
    if help.contains(" 2 an error") { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Returns clap's message, which may have several lines, in one line.
fn message(error: &Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // Hints and the usage follow after an empty line. A value may also contain an empty line.
    let end = ["\n\n  tip: ", "\n\nUsage: ", "\n\nFor more information"]
        .iter()
        .filter_map(|hint| text.find(hint))
        .min();
    let lines = end.and_then(|end| text.get(..end)).unwrap_or(text).lines();
    lines.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns the name nearest to one that does not exist, and the help that lists all names.
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
