//! Who answers a frontend that several Services claim.
//!
//! The API server prevents this within a cluster; manifests can still say it. The older Service by
//! `creationTimestamp` wins, then the one whose name comes first; the others wait for it to go.

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use foldhash::HashMap;

use crate::model::{ObjectName, Service};

use super::frontend::FrontendKey;

/// Rank of a Service among those that claim the same frontend; the smallest wins. There is one for every frontend:
/// it is read from the Service, which the state has in the memory anyway.
#[derive(Clone, Debug)]
pub struct Rank(Arc<Service>);

impl Rank {
    /// The rank of a Service.
    pub const fn of(service: Arc<Service>) -> Self {
        Self(service)
    }

    /// The name of the Service.
    pub fn name(&self) -> &ObjectName {
        &self.0.name
    }

    /// Creation time; a Service without one is younger than any that has one.
    fn created(&self) -> i64 {
        self.0.created.unwrap_or(i64::MAX)
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.created() == other.created() && self.name() == other.name()
    }
}

impl Eq for Rank {}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        self.created().cmp(&other.created()).then_with(|| self.name().cmp(other.name()))
    }
}

/// Orders Services as their ranks do. Faster for many: the first bytes of the names are compared in place,
/// where the names themselves lie all over the memory.
pub fn sort_by_rank<'a, T>(services: impl Iterator<Item = (&'a Service, T)>) -> Vec<(&'a Service, T)> {
    let start = |text: &str| {
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte);
        u128::from_be_bytes(bytes)
    };
    let key = |service: &Service| {
        (service.created.unwrap_or(i64::MAX), start(&service.name.namespace), start(&service.name.name))
    };
    let mut keyed: Vec<_> = services.map(|(service, value)| (key(service), service, value)).collect();
    keyed.sort_unstable_by(|((created, namespace, name), a, _), (other, b, _)| {
        let whole_namespace = || a.name.namespace.cmp(&b.name.namespace);
        let by_namespace = created.cmp(&other.0).then(namespace.cmp(&other.1));
        // Names count only among equal namespaces, of which a start of less than 16 bytes is all.
        let namespaces =
            if *namespace as u8 == 0 { by_namespace } else { by_namespace.then_with(whole_namespace) };
        namespaces.then(name.cmp(&other.2)).then_with(|| a.name.cmp(&b.name))
    });
    keyed.into_iter().map(|(_, service, value)| (service, value)).collect()
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
#[derive(Clone, Debug, Default)]
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
            // The same, of the Service as it is now: nothing else need keep what it was.
            owner.clone_from(rank);
            return Claim::Granted;
        }
        let waiting = self.waiting.entry(key).or_default();
        if *owner < *rank {
            waiting.replace(rank.clone());
            return Claim::HeldBy(owner.name().clone());
        }
        waiting.remove(rank);
        let former = std::mem::replace(owner, rank.clone());
        let name = former.name().clone();
        waiting.insert(former);
        Claim::TakenFrom(name)
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
            let name = next.name().clone();
            self.owners.insert(*key, next);
            Some(name)
        } else {
            self.owners.remove(key);
            None
        }
    }

    /// Number of frontends that are answered.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Makes room for so many more frontends.
    pub fn reserve(&mut self, frontends: usize) {
        self.owners.reserve(frontends);
    }

    /// The Service that answers a frontend.
    pub fn owner(&self, key: &FrontendKey) -> Option<&ObjectName> {
        self.owners.get(key).map(Rank::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{LoadBalancing, Protocol, TrafficPolicy},
        ruleset::Family,
    };

    const KEY: FrontendKey = FrontendKey::NodePort(Family::Ip, Protocol::Tcp, 30080);

    fn rank(created: i64, name: &str) -> Rank {
        Rank::of(Arc::new(Service {
            name: ObjectName::new("default", name),
            created: Some(created),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity_timeout: None,
            load_balancing: LoadBalancing::Random,
            health_check_node_port: None,
            ports: Vec::new(),
        }))
    }

    #[test]
    fn the_older_service_wins_whoever_comes_first() {
        let (old, young) = (rank(1, "z"), rank(2, "a"));
        let mut claims = Claims::default();
        assert_eq!(claims.claim(KEY, &young), Claim::Granted);
        assert_eq!(claims.claim(KEY, &old), Claim::TakenFrom(young.name().clone()));
        assert_eq!(claims.claim(KEY, &young), Claim::HeldBy(old.name().clone()));
        assert_eq!(claims.release(&KEY, &old), Some(young.name().clone()));
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
