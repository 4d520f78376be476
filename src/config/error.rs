//! What can be wrong with an option, and where it is given.

use std::{fmt, path::PathBuf};

use super::options::Row;
use crate::text::one_line;

/// An option that cannot be used: one line that names the flag, or the file and field, and what is wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Error {
    /// Where the option was given.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
}

impl Error {
    /// A problem with the option given there.
    pub fn new(place: Place, problem: impl fmt::Display) -> Self {
        Self { place, problem: problem.to_string() }
    }
}

/// Where an option is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the command line: the flag, as `--conntrack-min`.
    Flag(&'static str),
    /// In a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1; `None` if there is no single line, as for a value that may have come from several lines.
        line: Option<u64>,
        /// The field, as `conntrack.min`; empty for the file itself.
        field: String,
    },
}

impl Place {
    /// The line of the file.
    pub(super) fn line(&self) -> Option<u64> {
        if let Self::File { line, .. } = self { *line } else { None }
    }
}

impl fmt::Display for Place {
    /// `--conntrack-min`, or `/etc/config.conf:12: conntrack.min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::File { path, line, field } => {
                f.write_str(&one_line(path.to_string_lossy()))?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                if field.is_empty() { Ok(()) } else { write!(f, ": {}", one_line(field)) }
            }
        }
    }
}

/// Where a configuration comes from: flags, or a file, some fields of which flags may override.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The fields that flags override.
    pub(super) overridden: Vec<&'static str>,
    /// Fields that are in force in place of others: the other field, and the field that the file gives.
    pub(super) in_place_of: Vec<(&'static str, &'static str)>,
}

impl Origin {
    /// Where the value of an option comes from.
    pub fn place(&self, row: &Row) -> Place {
        match (&self.file, row.flag()) {
            (None, Some(flag)) => Place::Flag(flag),
            (_, Some(flag)) if row.field.is_empty() || self.overridden.contains(&row.field) => {
                Place::Flag(flag)
            }
            (path, _) => {
                let given = self.in_place_of.iter().find(|(other, _)| *other == row.field);
                let field = given.map_or(row.field, |(_, given)| given).to_owned();
                Place::File { path: path.clone().unwrap_or_default(), line: None, field }
            }
        }
    }

    /// What to call an option in a message: `--conntrack-min`, or `/etc/config.conf: conntrack.min`.
    pub fn name(&self, row: &Row) -> String {
        self.place(row).to_string()
    }

    /// Like [`Origin::name`], but without the file, for places where the file is obvious.
    pub fn short_name(&self, row: &Row) -> String {
        match self.place(row) {
            Place::Flag(flag) => flag.to_owned(),
            Place::File { field, .. } => field,
        }
    }
}
