//! Where a configuration comes from.

use std::{fmt, path::PathBuf};

use super::{Error, Place, Row};

/// Where a configuration comes from: flags, or a file, of which flags may override some fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The fields that flags override.
    pub(super) overridden: Vec<&'static str>,
    /// Fields that are in force in place of others: the other one, and the one that the file gives.
    pub(super) in_place_of: Vec<(&'static str, &'static str)>,
}

impl Origin {
    /// Where the value of a field comes from.
    pub fn place(&self, field: &str) -> Place {
        match self.flag(field) {
            Some(flag) => Place::Flag(flag),
            None => Place::File {
                path: self.file.clone().unwrap_or_default(),
                line: None,
                field: self.given(field).to_owned(),
            },
        }
    }

    /// A problem with a field.
    pub(super) fn error(&self, field: &str, problem: impl fmt::Display) -> Error {
        Error::new(self.place(field), problem)
    }

    /// What to call a field in a message: `--conntrack-min`, or `/etc/config.conf: conntrack.min`.
    pub fn name(&self, field: &str) -> String {
        self.place(field).to_string()
    }

    /// The same where the file goes without saying.
    pub fn short_name(&self, field: &str) -> String {
        self.flag(field).unwrap_or_else(|| self.given(field)).to_owned()
    }

    /// The flag that sets the field, unless it comes from the file.
    fn flag(&self, field: &str) -> Option<&'static str> {
        let row = Row::of_field(field)?;
        if self.file.is_none() || self.overridden.contains(&row.field) { row.flag() } else { None }
    }

    /// The field that gives a field its value.
    fn given<'a>(&self, field: &'a str) -> &'a str {
        self.in_place_of.iter().find(|(other, _)| *other == field).map_or(field, |(_, given)| given)
    }
}
