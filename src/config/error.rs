//! What can be wrong with an option.

use std::{fmt, path::PathBuf};

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
    pub fn new(place: impl Into<Place>, problem: impl fmt::Display) -> Self {
        Self { place: place.into(), problem: problem.to_string() }
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
        /// The line, from 1; without it, what is said is about a value that may have come from several.
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

impl From<&'static str> for Place {
    fn from(flag: &'static str) -> Self {
        Self::Flag(flag)
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
