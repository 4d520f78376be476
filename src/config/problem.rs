//! What can be wrong with an option.

use std::{fmt, path::PathBuf};

use portolan_rules::node_ports::NodePortAddressesError;

use crate::text::one_line;

/// An option that cannot be used: one line that names the flag, or the file and field, and what is wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct Error {
    /// Where the option was given.
    pub place: Place,
    /// What is wrong.
    pub problem: Problem,
}

impl Error {
    /// A problem with the option given there.
    pub fn new(place: impl Into<Place>, problem: impl Into<Problem>) -> Self {
        Self { place: place.into(), problem: problem.into() }
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
    /// A place within this one: an entry of a list, as `[1]`, or of a mapping, as `.name`.
    pub(super) fn entry(&self, suffix: &str, at: u64) -> Self {
        match self {
            Self::Flag(flag) => Self::Flag(flag),
            Self::File { path, field, .. } => {
                Self::File { path: path.clone(), line: Some(at), field: format!("{field}{suffix}") }
            }
        }
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

/// What is wrong with an option, or with the file that holds it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("{0}")]
    Io(String),
    /// The file is too long.
    #[error("is longer than a configuration can be (1 MiB)")]
    Length,
    /// The file is not text.
    #[error("is not UTF-8 text")]
    Encoding,
    /// The parser cannot read the text.
    #[error("is not valid YAML: {0}")]
    Syntax(String),
    /// The file has documents of other kinds only.
    #[error("{found} is not supported, only {supported}")]
    Unsupported {
        /// What the file has.
        found: String,
        /// What it should have.
        supported: &'static str,
    },
    /// A required field is missing.
    #[error("is missing, must be {0}")]
    Missing(&'static str),
    /// There is more than one configuration in the file.
    #[error("there is more than one KubeProxyConfiguration")]
    SecondConfiguration,
    /// A `ConfigMap` without a configuration.
    #[error("the ConfigMap has no key config.conf or config with a KubeProxyConfiguration")]
    ConfigMap,
    /// A field that `KubeProxyConfiguration` does not have.
    #[error("unknown field{}", nearest.map(|field| format!("; did you mean {field}?")).unwrap_or_default())]
    UnknownField {
        /// The known field with the most similar name.
        nearest: Option<&'static str>,
    },
    /// A field that is given twice.
    #[error("is there twice; the last value counts")]
    Duplicate,
    /// A scalar or list in place of a mapping.
    #[error("is not a mapping of fields to values")]
    NotAMapping,
    /// Not a list.
    #[error("is not a list")]
    NotAList,
    /// Not a text.
    #[error("is not a text")]
    NotText,
    /// Neither a text nor a number.
    #[error("is neither a text nor a number")]
    NotAScalar,
    /// Not a boolean.
    #[error("is neither true nor false")]
    NotABoolean,
    /// Not a number.
    #[error("is not a number")]
    NotANumber,
    /// Not an integer, or one that does not fit.
    #[error("is not a whole number, or too large")]
    NotAnInteger,
    /// Not an integer from 0 on, or one that does not fit.
    #[error("is not a whole number from 0 on, or too large")]
    NotACount,
    /// An entry of a list that is null.
    #[error("must not be null")]
    Null,
    /// Not a duration.
    #[error("{0:?} is not a duration such as 30s or 1m30s")]
    Duration(String),
    /// Not an entry of a list of pairs.
    #[error("{value:?} is not an entry such as {example}")]
    Pair {
        /// The entry.
        value: String,
        /// A valid one.
        example: &'static str,
    },
    /// Not a network.
    #[error("{0:?} is not a network such as 10.128.0.0/14")]
    Network(String),
    /// More than one network of a family.
    #[error("at most one network of each family, not {0:?}")]
    ClusterCidrs(String),
    /// An entry that is neither a network nor `primary`.
    #[error(transparent)]
    NodePortAddresses(#[from] NodePortAddressesError),
    /// The name of the node is blank, or the host has none.
    #[error("the node has no name: {0}")]
    NodeName(String),
    /// A word other than the ones that are allowed.
    #[error("{0:?} is none of {1}")]
    NoneOf(String, &'static str),
    /// An interface name that is not valid.
    #[error("{0:?} is not the name of an interface: 1 to 15 characters, no blank, no slash")]
    Interface(String),
    /// A number outside its range.
    #[error("{0} is not a number from {1} to {2}")]
    Range(i64, i64, i64),
    /// A number below zero.
    #[error("{0} is negative")]
    Negative(String),
    /// A time that is zero or negative.
    #[error("{0} is not more than zero")]
    NotPositive(String),
    /// A timeout that is too long for the kernel.
    #[error("{0} is longer than {1}, the longest that the kernel can have")]
    TooLong(String, String),
    /// The shortest time between reconciles is longer than the longest.
    #[error("{min} is longer than {period} ({limit})")]
    Longer {
        /// The value.
        min: String,
        /// The limit.
        limit: String,
        /// The option that sets the limit.
        period: String,
    },
    /// Not an IP address.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// Not an address and port.
    #[error("{0:?} is not an address and port such as 0.0.0.0:10256")]
    Listener(String),
    /// A mode of kube-proxy other than nftables.
    #[error("Portolan is an nftables proxy and has no mode {mode:?}; {remedy}")]
    Mode {
        /// The mode.
        mode: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A name that a table cannot have.
    #[error("{0:?} is not a name for a table: a letter, then letters, digits, - and _, 63 in all")]
    TableName(String),
    /// The name of kube-proxy's table.
    #[error("kube-proxy is the name of kube-proxy's own tables")]
    KubeProxyTable,
    /// Not a value for a label.
    #[error(
        "{0:?} is not the value of a label: letters, digits, -, _ and . between letters or digits, 63 in all"
    )]
    LabelValue(String),
    /// Not a URL.
    #[error("{0:?} is not a URL such as https://192.0.2.1:6443")]
    Url(String),
}
