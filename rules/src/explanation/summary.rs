//! What becomes of connections to a frontend, in a word, and the share of each endpoint.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    client::Origin,
    explained::{ExplainedFrontend, ExplainedPort, ExplainedService, View},
};
use crate::{
    frontends::FrontendKey,
    model::{LoadBalancing, TrafficPolicy},
    simulate::{Fate, Outcome, Probability},
};

crate::named! {
    /// What becomes of a connection, in a word.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Answer {
        /// It reaches an endpoint, which sees the client's address.
        SourceKept = "source kept",
        /// It reaches an endpoint, which sees an address of this node.
        Masqueraded = "masqueraded",
        /// It reaches an endpoint; some see the client's address, others one of this node.
        MasqueradedForSome = "masqueraded for some endpoints",
        /// It is refused.
        Refused = "refused",
        /// It gets no answer.
        Dropped = "dropped",
        /// It goes where it was addressed to.
        LeftAlone = "left alone",
        /// The simulator cannot decide.
        NotKnown = "not known",
    }
}

/// A policy, and the share of each endpoint under it.
pub type PolicyShares = (TrafficPolicy, BTreeMap<SocketAddr, Probability>);

impl View<'_> {
    /// What becomes of a client's connection to a frontend. `None` if no address of this node answers its node port.
    pub fn answer(&self, origin: Origin, key: &FrontendKey) -> Option<Answer> {
        let fates = self.connect(origin, key)?.fates();
        let masqueraded =
            fates.keys().filter(|fate| matches!(fate, Fate::Sent { masqueraded: true, .. })).count();
        Some(match fates.keys().next()? {
            Fate::Sent { .. } if masqueraded == 0 => Answer::SourceKept,
            Fate::Sent { .. } if masqueraded == fates.len() => Answer::Masqueraded,
            Fate::Sent { .. } => Answer::MasqueradedForSome,
            Fate::Rejected(_) => Answer::Refused,
            Fate::Dropped => Answer::Dropped,
            Fate::Untouched { .. } => Answer::LeftAlone,
            Fate::Unknown(_) => Answer::NotKnown,
        })
    }

    /// What becomes of connections to a frontend from a Pod and from outside, in words.
    pub fn answers(&self, key: &FrontendKey) -> String {
        match (self.answer(Origin::Pod, key), self.answer(Origin::Outside, key)) {
            (Some(pod), Some(outside)) if pod == outside => pod.to_string(),
            (Some(pod), Some(outside)) => format!("from a Pod {pod}, from outside {outside}"),
            _ => "answers nowhere on this node".to_owned(),
        }
    }

    /// For each policy in force, the share of each endpoint among new connections from outside to a frontend with that
    /// policy. Empty if the client's address decides on the endpoint.
    pub fn shares(&self, explained: &ExplainedService, port: &ExplainedPort) -> Vec<PolicyShares> {
        let shares = |policy| {
            let is_meant = |frontend: &&ExplainedFrontend| {
                frontend.policy == policy && frontend.left_out.is_none() && self.is_here(&frontend.key)
            };
            let frontend = port.frontends.iter().find(is_meant);
            (policy, frontend.map(|frontend| self.shares_of(explained, &frontend.key)).unwrap_or_default())
        };
        port.policies().map(shares).collect()
    }

    /// The share of each endpoint among new connections from outside to a frontend of a Service. Empty if the client's
    /// address decides on the endpoint.
    pub fn shares_of(
        &self,
        explained: &ExplainedService,
        key: &FrontendKey,
    ) -> BTreeMap<SocketAddr, Probability> {
        let mut shares = BTreeMap::new();
        if explained.service.load_balancing == LoadBalancing::SourceHash || !self.is_here(key) {
            return shares;
        }
        if let Some(slots) = self.compiler.slots(&explained.service.name, key) {
            let mut counts: BTreeMap<SocketAddr, u64> = BTreeMap::new();
            for endpoint in slots.iter() {
                *counts.entry(endpoint).or_default() += 1;
            }
            // Nearly always, all endpoints have the same share.
            let mut known: Option<(u64, Probability)> = None;
            let mut share = |count| match &known {
                Some((same, share)) if *same == count => share.clone(),
                _ => known.insert((count, Probability::new(count, slots.len() as u64))).1.clone(),
            };
            return counts.into_iter().map(|(endpoint, count)| (endpoint, share(count))).collect();
        }
        for (fate, share) in self.connect(Origin::Outside, key).iter().flat_map(Outcome::fates) {
            if let Fate::Sent { to, .. } = fate {
                *shares.entry(to).or_insert_with(|| Probability::new(0, 1)) += &share;
            }
        }
        shares
    }

    /// Whether an address of this node answers a frontend.
    fn is_here(&self, key: &FrontendKey) -> bool {
        match key {
            FrontendKey::Address(..) => true,
            FrontendKey::NodePort(family, ..) => self.node_address(*family).is_some(),
        }
    }
}
