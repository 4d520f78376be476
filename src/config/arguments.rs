//! The flags of options, as clap reads them.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};

use super::{Effect, Error, Kind, Options, ROWS, Row, Scope};

/// The flags that every command has that compiles rules.
#[derive(Clone, Debug, Default)]
pub struct RulesFlags(pub Options);

/// The flags of `run`.
#[derive(Clone, Debug, Default)]
pub struct RunFlags(pub Options);

macro_rules! flags {
    ($type:ident, $rows:expr) => {
        impl Args for $type {
            fn augment_args(command: Command) -> Command {
                command.args(ROWS.iter().filter($rows).filter_map(argument))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $type {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                read(matches, ROWS.iter().filter($rows)).map(Self)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                Self::from_arg_matches(matches).map(|flags| *self = flags)
            }
        }
    };
}

flags!(RulesFlags, |row| row.scope == Scope::Rules);
flags!(RunFlags, |_| true);

/// The argument of an option that has a flag.
fn argument(row: &Row) -> Option<Arg> {
    let name = row.flag()?.trim_start_matches('-');
    let mut argument = Arg::new(name).long(name).value_name(row.placeholder).action(ArgAction::Set);
    for other in row.flags.split_whitespace() {
        match other.strip_prefix("--") {
            Some(long) if long == name => {}
            Some(alias) => argument = argument.alias(alias),
            None => argument = argument.short(other.chars().nth(1)),
        }
    }
    argument = match row.kind {
        Kind::Boolean => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Number => argument.allow_negative_numbers(true),
        Kind::Duration => argument.allow_hyphen_values(true),
        Kind::Text => argument,
        Kind::List => argument.action(ArgAction::Append),
    };
    if !row.heading.is_empty() {
        argument = argument.help_heading(row.heading);
    }
    let has_effect = !matches!(row.effect, Effect::None(..));
    let default = match row.default {
        "" | "false" => String::new(),
        default => format!(" [default: {default}]"),
    };
    Some(argument.help(format!("{}{default}", row.help.trim())).hide_short_help(!has_effect))
}

/// Reads the values of flags.
fn read(matches: &ArgMatches, rows: impl Iterator<Item = &'static Row>) -> Result<Options, clap::Error> {
    let mut options = Options::default();
    for row in rows {
        let Some(flag) = row.flag() else { continue };
        let Some(values) = matches.get_many::<String>(flag.trim_start_matches('-')) else { continue };
        // Of a list, each may have a part.
        let value = values.map(String::as_str).collect::<Vec<_>>().join(",");
        (row.parse)(&mut options, &value).map_err(|problem| {
            clap::Error::raw(ErrorKind::ValueValidation, Error::new(flag, problem).to_string())
        })?;
    }
    Ok(options)
}
