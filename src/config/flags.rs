//! The flags of options, as clap reads them.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches,
    builder::{PossibleValue, StringValueParser, TypedValueParser},
    error::ErrorKind,
};

use super::{
    Error, Options, Place,
    kind::Kind,
    options::{Row, Scope, rows},
};

/// The flags of a command: with `ALL`, all flags, which `run` has; else the flags of every command that compiles rules.
#[derive(Clone, Debug, Default)]
pub struct Flags<const ALL: bool>(pub Options);

/// The flags of every command that compiles rules.
pub type RulesFlags = Flags<false>;

/// The flags of `run`.
pub type RunFlags = Flags<true>;

impl<const ALL: bool> Flags<ALL> {
    fn rows() -> impl Iterator<Item = (&'static Row, &'static str)> {
        let rows = rows().filter(|row| ALL || row.scope == Scope::Rules);
        rows.filter_map(|row| Some((row, row.flag()?)))
    }
}

impl<const ALL: bool> Args for Flags<ALL> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::rows().map(|(row, flag)| argument(row, flag)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const ALL: bool> FromArgMatches for Flags<ALL> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = Options::default();
        for (row, flag) in Self::rows() {
            let Some(values) = matches.get_many::<String>(flag.trim_start_matches('-')) else { continue };
            // Each occurrence of a list's flag may have a part of the list.
            let value = values.map(String::as_str).collect::<Vec<_>>().join(",");
            options.parse(row, &value).map_err(|problem| {
                let error = Error::new(Place::Flag(flag), problem);
                clap::Error::raw(ErrorKind::ValueValidation, error)
            })?;
        }
        Ok(Self(options))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|flags| *self = flags)
    }
}

/// The argument of an option that has a flag.
fn argument(row: &Row, flag: &'static str) -> Arg {
    let name = flag.trim_start_matches('-');
    let mut argument = Arg::new(name).long(name).value_name(row.kind.placeholder()).action(ArgAction::Set);
    for other in row.flags.split_whitespace().filter(|other| *other != flag) {
        argument = match other.strip_prefix("--") {
            Some(alias) => argument.alias(alias),
            None => argument.short(other.chars().nth(1)),
        };
    }
    argument = match row.kind {
        Kind::Boolean => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::TextOr(_, alone) => argument.num_args(0..=1).default_missing_value(alone),
        Kind::Number(..) => argument.allow_negative_numbers(true),
        Kind::Duration | Kind::Period => argument.allow_hyphen_values(true),
        // For completions and help; the checks decide which words are valid.
        Kind::Choice(_, words) => argument.value_parser(Words(words.to_vec())),
        kind if kind.is_list() => argument.action(ArgAction::Append),
        _ => argument,
    };
    if !row.heading.is_empty() {
        argument = argument.help_heading(row.heading);
    }
    let more = match (row.effect, row.default) {
        (super::Effect::None(why, _), _) => format!("; no effect here: {why}"),
        (_, "" | "false") => String::new(),
        (_, default) => format!(" [default: {default}]"),
    };
    let help = format!("{}{more}", row.help.trim());
    if row.is_without_effect() {
        // For --help and the manual page; -h leaves it out.
        argument = argument.long_help(help.clone()).hide_short_help(true);
    }
    argument.help(help)
}

/// Reads any text, and suggests these words.
#[derive(Clone)]
pub struct Words(pub Vec<&'static str>);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}
