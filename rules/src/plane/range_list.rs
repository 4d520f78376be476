//! In which set the source ranges of a Service stand (`loadBalancerSourceRanges`).

use super::sets::SetName;

/// Which of two lists the ranges of a Service stand in. New ranges are written to the other list while the
/// present ones are in force: the kernel takes no overlapping ranges in one set, and changes ranges last of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RangeList {
    /// The one that a Service begins with.
    #[default]
    First,
    /// The other one.
    Second,
}

impl RangeList {
    /// Both.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The set that holds it.
    pub const fn set(self) -> SetName {
        match self {
            Self::First => SetName::AllowedSources,
            Self::Second => SetName::OtherAllowedSources,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}
