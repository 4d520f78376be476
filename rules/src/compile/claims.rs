//! Who answers a frontend that several Services claim.
//!
//! The API server prevents this within a cluster; manifests can still say it. The older Service by
//! `creationTimestamp` wins, then the one whose name comes first; the others wait for it to go.

use std::collections::{BTreeSet, HashMap};

use crate::model::{ObjectName, Service};

use super::frontend::FrontendKey;

/// Rank of a Service among those that claim the same frontend; the smallest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Creation time; a Service without one is younger than any that has one.
    created: i64,
    /// Name.
    pub name: ObjectName,
}

impl Rank {
    /// The rank of a Service.
    pub fn of(service: &Service) -> Self {
        Self { created: service.created.unwrap_or(i64::MAX), name: service.name.clone() }
    }
}

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else had it.
    Granted,
    /// It was taken from this Service.
    TakenFrom(ObjectName),
    /// This Service keeps it.
    HeldBy(ObjectName),
}

/// All frontends with their owners, and who waits for them.
#[derive(Debug, Default)]
pub struct Claims {
    owners: HashMap<FrontendKey, Rank>,
    waiting: HashMap<FrontendKey, BTreeSet<Rank>>,
}

impl Claims {
    /// Claims a frontend. Claiming it again changes nothing.
    pub fn claim(&mut self, key: FrontendKey, rank: &Rank) -> Claim {
        let Some(owner) = self.owners.get_mut(&key) else {
            self.owners.insert(key, rank.clone());
            return Claim::Granted;
        };
        if owner == rank {
            return Claim::Granted;
        }
        let waiting = self.waiting.entry(key).or_default();
        if *owner < *rank {
            waiting.insert(rank.clone());
            return Claim::HeldBy(owner.name.clone());
        }
        waiting.remove(rank);
        let former = std::mem::replace(owner, rank.clone());
        waiting.insert(former.clone());
        Claim::TakenFrom(former.name)
    }

    /// Gives up a frontend or the wait for it. Returns the Service that owns it from now on, if that changed.
    pub fn release(&mut self, key: &FrontendKey, rank: &Rank) -> Option<ObjectName> {
        let waiting = self.waiting.get_mut(key);
        if self.owners.get(key) != Some(rank) {
            if let Some(waiting) = waiting {
                waiting.remove(rank);
                if waiting.is_empty() {
                    self.waiting.remove(key);
                }
            }
            return None;
        }
        let next = waiting.and_then(BTreeSet::pop_first);
        if self.waiting.get(key).is_some_and(BTreeSet::is_empty) {
            self.waiting.remove(key);
        }
        if let Some(next) = next {
            let name = next.name.clone();
            self.owners.insert(*key, next);
            Some(name)
        } else {
            self.owners.remove(key);
            None
        }
    }

    /// The Service that answers a frontend.
    pub fn owner(&self, key: &FrontendKey) -> Option<&ObjectName> {
        self.owners.get(key).map(|rank| &rank.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Protocol, ruleset::Family};

    const KEY: FrontendKey = FrontendKey::NodePort(Family::Ip, Protocol::Tcp, 30080);

    fn rank(created: i64, name: &str) -> Rank {
        Rank { created, name: ObjectName::new("default", name) }
    }

    #[test]
    fn the_older_service_wins_whoever_comes_first() {
        let (old, young) = (rank(1, "z"), rank(2, "a"));
        let mut claims = Claims::default();
        assert_eq!(claims.claim(KEY, &young), Claim::Granted);
        assert_eq!(claims.claim(KEY, &old), Claim::TakenFrom(young.name.clone()));
        assert_eq!(claims.claim(KEY, &young), Claim::HeldBy(old.name.clone()));
        assert_eq!(claims.release(&KEY, &old), Some(young.name.clone()));
        assert_eq!(claims.release(&KEY, &young), None);
        assert_eq!(claims.owner(&KEY), None);
        assert!(claims.waiting.is_empty());
    }

    #[test]
    fn of_the_same_age_the_first_name_wins() {
        let mut claims = Claims::default();
        claims.claim(KEY, &rank(1, "b"));
        claims.claim(KEY, &rank(1, "c"));
        claims.claim(KEY, &rank(1, "a"));
        assert_eq!(claims.owner(&KEY), Some(&ObjectName::new("default", "a")));
        assert_eq!(claims.release(&KEY, &rank(1, "a")), Some(ObjectName::new("default", "b")));
    }
}
