//! The set that holds the source ranges of a Service (`loadBalancerSourceRanges`).

use super::sets::SetName;

/// Which of two lists holds the ranges of a Service. New ranges are written to the other list while the present ranges
/// are in force: the kernel accepts no overlapping ranges in one set, and changes ranges last of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RangeList {
    /// The list that a Service begins with.
    #[default]
    First,
    /// The other list.
    Second,
}

impl RangeList {
    /// Both lists.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The set that holds the list.
    pub const fn set(self) -> SetName {
        match self {
            Self::First => SetName::AllowedSources,
            Self::Second => SetName::OtherAllowedSources,
        }
    }

    /// The other list.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}
