//! The outcome of all connections of a test, and whether rules lost any.

use std::fmt;

use crate::{Fate, Lab, LabError, Tally};

/// Sums over all connections that [`Flows`](crate::Flows) made through node-a.
#[derive(Debug)]
pub struct Losses {
    /// Connections that were answered.
    pub answered: u64,
    astray: u64,
    refused: u64,
    dropped: u64,
    /// Packets that left a node, or were delivered on it, untranslated.
    untranslated: u64,
    /// How many of the dropped packets connection tracking dropped.
    clashes: u64,
}

impl Losses {
    /// Counts the losses since the lab was created.
    pub fn count<'a>(lab: &Lab, tallies: impl IntoIterator<Item = &'a Tally>) -> Result<Self, LabError> {
        let mut sums = [0; 4];
        for tally in tallies {
            let fates = [Fate::Answered, Fate::Astray, Fate::Refused, Fate::Dropped];
            for (sum, fate) in sums.iter_mut().zip(fates) {
                *sum += tally.of(fate);
            }
        }
        let [answered, astray, refused, dropped] = sums;
        let (untranslated, clashes) = (lab.untranslated()?, lab.node_a.namespace().clashes()?);
        Ok(Self { answered, astray, refused, dropped, untranslated, clashes })
    }

    /// The number of all connections.
    pub fn connections(&self) -> u64 {
        self.answered + self.astray + self.refused + self.dropped
    }

    /// Whether rules lost nothing: packets that connection tracking reports as dropped were not lost by rules.
    pub fn are_none(&self) -> bool {
        self.astray + self.refused + self.dropped.saturating_sub(self.clashes) + self.untranslated == 0
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, astray, refused, dropped, untranslated, clashes } = self;
        write!(
            f,
            "{answered} answered, {astray} astray, {refused} refused, {dropped} dropped; {untranslated} packets seen \
             untranslated; {clashes} dropped by connection tracking"
        )
    }
}
