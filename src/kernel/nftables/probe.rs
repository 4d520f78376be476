//! Determines by trial, at the start, what the kernel supports.
//!
//! Everything that the rules need is written into separate tables, in one batch without an end message: the kernel
//! validates it, reports what it refuses, and discards it, as with `nft --check`. Nothing is committed, the generation
//! does not change, and no subscriber is notified.

mod feature;

use std::{collections::BTreeSet, fmt};

use portolan_rules::{plane::Config, ruleset::Family};
use rustix::io::Errno;

use super::{
    batch::{self, Trial},
    error::Error,
    handle::Kernel,
    reader::Reader,
    release::{RangeRemoval, Release},
    tables::Tables,
    uapi::*,
};

pub use self::feature::Feature;

/// What a kernel supports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The kernel's release.
    pub release: Release,
    /// The features that it lacks, by family.
    pub missing: BTreeSet<(Family, Feature)>,
    /// Whether it acknowledges the end of a batch (since 6.10).
    pub acknowledges: bool,
    /// Whether it refuses a batch for another generation (`NFNL_BATCH_GENID`).
    pub checks_generation: bool,
    /// Whether it reports how many elements a set has (`NFTA_SET_COUNT`, since 6.16), which shows that a reading by
    /// keys is complete. `None` if there was no set to find out with.
    pub counts_elements: Option<bool>,
}

/// What a kernel can serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The families, in the order of [`Family::ALL`]; at least one.
    pub families: Vec<Family>,
    /// Warnings for the operator, one line each: families that are not served, and faults of this kernel.
    pub warnings: Vec<String>,
}

impl Features {
    /// Returns the families that this kernel can serve with these settings.
    ///
    /// # Errors
    /// [`Error::Lacking`] if it can serve none.
    pub fn serve(&self, config: &Config) -> Result<Served, Error> {
        let mut served = Served::default();
        let mut lacking = Vec::new();
        for family in Family::ALL {
            let what = self.lacking(family, config);
            if what.is_empty() {
                served.families.push(family);
                continue;
            }
            served.warnings.push(format!(
                "{} is not served: Linux {} lacks {}",
                ip_version(family),
                self.release,
                what.join(", ")
            ));
            for cause in what {
                if !lacking.contains(&cause) {
                    lacking.push(cause);
                }
            }
        }
        if served.families.is_empty() {
            return Err(Error::Lacking { release: self.release.to_string(), what: lacking.join(", ") });
        }
        let may = match self.release.range_removal() {
            RangeRemoval::Sound => return Ok(served),
            RangeRemoval::Broken => "has",
            RangeRemoval::Doubtful => "may have",
        };
        served.warnings.push(format!(
            "Linux {} {may} a fault in sets of ranges (fixed in 5.10.94, 5.15.17 and 5.17): once \
             spec.loadBalancerSourceRanges of some Service loses a range, load balancer addresses with ranges may \
             refuse every client",
            self.release
        ));
        Ok(served)
    }

    /// The features that a family needs and lacks, each with its origin. Leaves out features that use another missing
    /// one.
    fn lacking(&self, family: Family, config: &Config) -> Vec<String> {
        let is_needed = |feature: &Feature| match feature {
            Feature::ElementCounters => config.endpoint_counters,
            // The flag that uses it has no effect if the kernel lacks it.
            Feature::OwnedTables => false,
            _ => true,
        };
        let is_missing = |feature: &Feature| self.missing.contains(&(family, *feature));
        let missing = Feature::ALL.into_iter().filter(|feature| is_needed(feature) && is_missing(feature));
        let causes = missing.filter(|feature| !feature.uses().iter().any(is_missing));
        causes.map(|feature| format!("{feature} ({})", feature.origin(family))).collect()
    }
}

impl fmt::Display for Features {
    /// Writes the names of the features that the kernel has, with the family if it has them in only one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Vec::new();
        for feature in Feature::ALL {
            let has = Family::ALL.into_iter().filter(|family| !self.missing.contains(&(*family, feature)));
            match has.collect::<Vec<_>>()[..] {
                [] => {}
                [family] => names.push(format!("{feature} ({family} only)")),
                _ => names.push(feature.name().to_owned()),
            }
        }
        let of_batches = [
            (self.acknowledges, "batch-acknowledgement"),
            (self.checks_generation, "batch-generation"),
            (self.counts_elements == Some(true), "element-counts"),
        ];
        names.extend(of_batches.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()));
        f.write_str(&names.join(" "))
    }
}

fn ip_version(family: Family) -> &'static str {
    match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    }
}

impl Kernel {
    /// Determines what the kernel supports. `table` is the name of our tables, whose sets show whether it counts
    /// elements.
    pub fn probe(&mut self, table: &str) -> Result<Features, Error> {
        let trials: Vec<(Family, Feature)> = Family::ALL
            .into_iter()
            .flat_map(|family| Feature::ALL.map(|feature| (family, feature)))
            .collect();
        Ok(Features {
            release: Release::running(),
            missing: missing(&trials, |trials| self.refused(trials))?,
            acknowledges: self.acknowledges,
            checks_generation: self.checks_generation()?,
            counts_elements: self.counts_elements(table)?,
        })
    }

    /// Whether tables can have an owner and outlive it, in any family.
    pub(super) fn has_owned_tables(&mut self) -> Result<bool, Error> {
        let trials = Family::ALL.map(|family| (family, Feature::OwnedTables));
        let missing = missing(&trials, |trials| self.refused(trials))?;
        Ok(missing.len() < trials.len())
    }

    /// Makes the kernel validate these without committing any of them. Returns the indices of those that it refuses.
    fn refused(&mut self, trials: &[Trial]) -> Result<BTreeSet<usize>, Error> {
        let owners = self.batch.encode_trials(trials)?;
        let replies = self.connection.execute(self.batch.bytes())?;
        let mut refused = BTreeSet::new();
        for reply in &replies.errors {
            let owner = reply.sequence.checked_sub(1).and_then(|index| owners.get(index as usize));
            match (Errno::from_raw_os_error(reply.errno), owner) {
                (Errno::PERM, _) => return Err(Error::Permission),
                (Errno::NOMEM | Errno::NOBUFS | Errno::INTR | Errno::AGAIN, _) => {
                    return Err(Error::Unknown(format!("a probe failed: {}", reply.error(None))));
                }
                (_, Some(owner)) => drop(refused.insert(*owner)),
                (_, None) => return Err(reply.error(None)),
            }
        }
        if replies.lost || (refused.is_empty() && !replies.acknowledged) {
            return Err(Error::Unknown("replies to a probe were lost".to_owned()));
        }
        Ok(refused)
    }

    /// Whether a batch for another generation is refused. The batch is empty, so that a kernel that ignores the
    /// generation commits nothing.
    fn checks_generation(&mut self) -> Result<bool, Error> {
        let present = self.generation()?.id;
        // Zero would mean any generation.
        let other = (present ^ 1 << 31).max(1);
        let replies = self.connection.execute(&batch::empty(Some(other)))?;
        Ok(replies.errors.first().is_some_and(|reply| reply.errno == Errno::RESTART.raw_os_error()))
    }

    /// Whether the kernel reports how many elements the sets of this table have; `None` if there is no set.
    fn counts_elements(&mut self, table: &str) -> Result<Option<bool>, Error> {
        for family in Family::ALL {
            let mut reader = Reader { connection: &mut self.connection, family, table };
            if reader.table()?.is_none() {
                continue;
            }
            let counts = reader.objects(NFT_MSG_GETSET, |set| Some(set.find(NFTA_SET_COUNT).is_some()))?;
            // It reports the number for all sets or for none.
            if let Some(counts) = counts.first() {
                return Ok(Some(*counts));
            }
        }
        Ok(None)
    }
}

/// Returns the features of these that are missing. `refused` makes the kernel validate trials, and returns the indices
/// of those that it refuses. It is called until the kernel accepts the rest: it validates hooks only once nothing else
/// is wrong.
fn missing(
    trials: &[(Family, Feature)],
    mut refused: impl FnMut(&[Trial]) -> Result<BTreeSet<usize>, Error>,
) -> Result<BTreeSet<(Family, Feature)>, Error> {
    let mut missing = BTreeSet::new();
    loop {
        let asked: Vec<_> = trials.iter().filter(|trial| !missing.contains(*trial)).copied().collect();
        let written: Vec<_> = asked.iter().map(|(family, feature)| feature.trial(*family)).collect();
        let refused = if written.is_empty() { BTreeSet::new() } else { refused(&written)? };
        if refused.is_empty() {
            return Ok(missing);
        }
        missing.extend(refused.into_iter().filter_map(|index| asked.get(index).copied()));
    }
}

#[cfg(test)]
mod tests;
