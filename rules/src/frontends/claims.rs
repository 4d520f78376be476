//! Which Service owns a frontend that several Services claim.
//!
//! The API server prevents several Services from having the same ClusterIP or node port, but manifests may contain
//! such Services. It does not prevent this for load balancer addresses and externalIPs. The more trusted field wins: a
//! load balancer address is written by a controller, an externalIP by any user who may edit a Service. (A ClusterIP,
//! which the API server assigns, is never a frontend of another Service: [`super::cluster_ips`].) Otherwise the older
//! Service by `creationTimestamp` wins, then the Service whose name sorts first. The others wait until the owner is
//! gone.

use std::{cmp::Ordering, collections::BTreeSet, hash::Hash, net::IpAddr, sync::Arc};

use foldhash::HashMap;

use crate::model::{ObjectName, Service};

use super::key::{FrontendKey, FrontendKind};

/// Rank of a Service among the Services that claim the same frontend; the smallest rank wins. There is a rank for each
/// frontend, so it only refers to the Service, which the state holds anyway.
#[derive(Clone, Debug)]
pub struct Rank(Arc<Service>);

impl Rank {
    /// The rank of a Service.
    pub const fn of(service: Arc<Service>) -> Self {
        Self(service)
    }

    /// The Service.
    pub fn service(&self) -> &Service {
        &self.0
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

/// Sorts Services by rank. Faster for many Services than comparing ranks: the first bytes of the names are compared in
/// place, while the names themselves are scattered over the memory.
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
        // Names count only among equal namespaces. A start of less than 16 bytes is the whole namespace.
        let namespaces =
            if *namespace as u8 == 0 { by_namespace } else { by_namespace.then_with(whole_namespace) };
        namespaces.then(name.cmp(&other.2)).then_with(|| a.name.cmp(&b.name))
    });
    keyed.into_iter().map(|(_, service, value)| (service, value)).collect()
}

/// Something that several Services may claim.
pub trait Claimed: Copy + Eq + Hash {
    /// The kind of frontend that it is for this Service.
    fn kind(&self, service: &Service) -> FrontendKind;
}

impl Claimed for FrontendKey {
    fn kind(&self, service: &Service) -> FrontendKind {
        match self {
            Self::NodePort(..) => FrontendKind::NodePort,
            Self::Address(address, ..) if service.cluster_ips.contains(address) => FrontendKind::ClusterIp,
            Self::Address(address, ..) if service.load_balancer_ips.contains(address) => {
                FrontendKind::LoadBalancer
            }
            Self::Address(..) => FrontendKind::ExternalIp,
        }
    }
}

/// A ClusterIP as a whole.
impl Claimed for IpAddr {
    fn kind(&self, _: &Service) -> FrontendKind {
        FrontendKind::ClusterIp
    }
}

/// The outcome of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// No other Service owned it.
    Granted,
    /// It was taken from this Service.
    TakenFrom(Rank),
    /// This Service keeps owning it.
    HeldBy(Rank),
}

/// The owner of everything that is claimed, and the Services that wait for it.
#[derive(Clone, Debug)]
pub struct Claims<K> {
    owners: HashMap<K, Rank>,
    waiting: HashMap<K, BTreeSet<(FrontendKind, Rank)>>,
}

impl<K> Default for Claims<K> {
    fn default() -> Self {
        Self { owners: HashMap::default(), waiting: HashMap::default() }
    }
}

impl<K: Claimed> Claims<K> {
    /// Claims a key. Claiming it again changes nothing; to claim it as another kind than before, release it first.
    pub fn claim(&mut self, key: K, rank: &Rank) -> Claim {
        let Some(owner) = self.owners.get_mut(&key) else {
            self.owners.insert(key, rank.clone());
            return Claim::Granted;
        };
        if owner == rank {
            // Keeps the Service as it is now, so that its former version can be freed.
            owner.clone_from(rank);
            return Claim::Granted;
        }
        let waiting = self.waiting.entry(key).or_default();
        let ranked = |rank: &Rank| (key.kind(&rank.0), rank.clone());
        let (held, claimed) = (ranked(owner), ranked(rank));
        if held < claimed {
            waiting.replace(claimed);
            return Claim::HeldBy(held.1);
        }
        waiting.remove(&claimed);
        owner.clone_from(rank);
        let former = held.1.clone();
        waiting.insert(held);
        Claim::TakenFrom(former)
    }

    /// Gives up the claim of a Service of this rank. Returns the new owner, if the owner changed and there is one.
    pub fn release(&mut self, key: &K, rank: &Rank) -> Option<ObjectName> {
        let is_owner = self.owners.get(key) == Some(rank);
        let mut next = None;
        if let Some(waiting) = self.waiting.get_mut(key) {
            if is_owner {
                next = waiting.pop_first();
            } else {
                waiting.remove(&(key.kind(&rank.0), rank.clone()));
            }
            if waiting.is_empty() {
                self.waiting.remove(key);
            }
        }
        if let Some((_, next)) = next {
            let name = next.name().clone();
            self.owners.insert(*key, next);
            return Some(name);
        }
        if is_owner {
            self.owners.remove(key);
        }
        None
    }

    /// Number of keys that are owned.
    pub fn len(&self) -> usize {
        self.owners.len()
    }

    /// Makes room for this number of additional keys.
    pub fn reserve(&mut self, additional: usize) {
        self.owners.reserve(additional);
    }

    /// All keys that are owned.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.owners.keys()
    }

    /// The Service that owns a key.
    pub fn owner(&self, key: &K) -> Option<&ObjectName> {
        self.owners.get(key).map(Rank::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Protocol, ruleset::Family};

    const KEY: FrontendKey = FrontendKey::NodePort(Family::Ip, Protocol::Tcp, 30080);

    fn service(created: i64, name: &str) -> Service {
        let name = ObjectName::new("default", name);
        Service { created: Some(created), ..Service::cluster_ip(name, Vec::new(), Vec::new()) }
    }

    fn rank(created: i64, name: &str) -> Rank {
        Rank::of(Arc::new(service(created, name)))
    }

    #[test]
    fn the_older_service_wins_in_whatever_order_they_come() {
        let (old, young) = (rank(1, "z"), rank(2, "a"));
        let mut claims = Claims::default();
        assert_eq!(claims.claim(KEY, &young), Claim::Granted);
        assert_eq!(claims.claim(KEY, &old), Claim::TakenFrom(young.clone()));
        assert_eq!(claims.claim(KEY, &young), Claim::HeldBy(old.clone()));
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

    #[test]
    fn a_load_balancer_address_wins_over_an_older_external_ip_and_that_waits_for_it() {
        let address = IpAddr::from([203, 0, 113, 1]);
        let key = FrontendKey::Address(address, Protocol::Tcp, 80);
        let external = |created, name| {
            Rank::of(Arc::new(Service { external_ips: vec![address], ..service(created, name) }))
        };
        let balanced = |created, name| {
            Rank::of(Arc::new(Service { load_balancer_ips: vec![address], ..service(created, name) }))
        };
        let (oldest, older) = (external(1, "a"), external(2, "b"));
        let (old, young) = (balanced(3, "c"), balanced(4, "d"));
        let mut claims = Claims::default();
        assert_eq!(claims.claim(key, &older), Claim::Granted);
        assert_eq!(claims.claim(key, &young), Claim::TakenFrom(older.clone()));
        assert_eq!(claims.claim(key, &oldest), Claim::HeldBy(young.clone()));
        assert_eq!(claims.claim(key, &old), Claim::TakenFrom(young.clone()));
        for (released, next) in [(&old, Some(&young)), (&young, Some(&oldest)), (&oldest, Some(&older))] {
            assert_eq!(claims.release(&key, released).as_ref(), next.map(Rank::name));
        }
        assert_eq!(claims.release(&key, &older), None);
        assert!(claims.owners.is_empty() && claims.waiting.is_empty());
    }
}
