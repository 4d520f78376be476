//! What can be wrong with a setting.

use portolan_rules::node_ports::NodePortAddressesError;

use crate::config::{DurationError, ReadError};

/// A setting that cannot be used: one line that names the flag, or the file and field, and what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is not valid.
    #[error("{place}: {problem}")]
    Value {
        /// The flag, or file and field.
        place: String,
        /// What is wrong.
        problem: Problem,
    },
    /// A configuration file that cannot be read as one.
    #[error(transparent)]
    File(#[from] ReadError),
}

impl SettingsError {
    /// A problem with a flag or a field.
    pub fn new(place: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self::Value { place: place.into(), problem: problem.into() }
    }
}

/// What is wrong with a value.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A network that is none.
    #[error("{0:?} is not a network such as 10.128.0.0/14")]
    Network(String),
    /// More than one network of a family, or more than two at all.
    #[error("at most one network of each family, not {0:?}")]
    ClusterCidrs(String),
    /// An entry that is neither a network nor `primary`.
    #[error(transparent)]
    NodePortAddresses(#[from] NodePortAddressesError),
    /// The value is there but blank, or the host has no name.
    #[error("the node has no name: {0}")]
    NodeName(String),
    /// A word that is none of those that there are.
    #[error("{0:?} is none of {1}")]
    NoneOf(String, &'static str),
    /// An interface name that cannot be one.
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
    /// A timeout that the kernel cannot have.
    #[error("{0} is longer than {1}, the longest that the kernel can have")]
    TooLong(String, String),
    /// A text that is no duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// The shortest time between reconciles is longer than the longest.
    #[error("{min} is longer than {period} ({limit})")]
    Longer {
        /// The value.
        min: String,
        /// The limit.
        limit: String,
        /// What sets the limit.
        period: String,
    },
    /// An address that is none.
    #[error("{0:?} is not an IP address")]
    Address(String),
    /// An address and port that is none.
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
    /// A value that a label cannot have.
    #[error(
        "{0:?} is not the value of a label: letters, digits, -, _ and . between letters or digits, 63 in all"
    )]
    LabelValue(String),
    /// An entry of a list of pairs.
    #[error("{value:?} is not an entry such as {example}")]
    NotLike {
        /// The entry.
        value: String,
        /// A right one.
        example: &'static str,
    },
    /// A URL that is none.
    #[error("{0:?} is not a URL such as https://192.0.2.1:6443")]
    Url(String),
}
