//! The rolling update of a Deployment.

use std::collections::BTreeSet;

use super::cluster::{Application, Condition};

/// A rollout may have a quarter more pods than wanted, and a quarter fewer available ones.
const PART: u32 = 4;

/// A rolling update under way.
#[derive(Debug)]
pub struct Rollout {
    old: BTreeSet<u32>,
    new: BTreeSet<u32>,
}

/// The next actions of a Deployment's controller.
#[derive(Debug, PartialEq, Eq)]
pub struct Turn {
    /// How many pods are created.
    pub created: u32,
    /// The pods that are deleted.
    pub deleted: Vec<u32>,
}

impl Rollout {
    /// Begins the rolling update of a Deployment that has these pods.
    pub fn new(application: &Application) -> Self {
        Self { old: application.pods.keys().copied().collect(), new: BTreeSet::new() }
    }

    /// Whether there is nothing left to do.
    pub fn is_done(&self, application: &Application) -> bool {
        self.old.is_empty() && self.new.len() as u32 == application.replicas
    }

    /// Notes a pod that was created.
    pub fn created(&mut self, pod: u32) {
        self.new.insert(pod);
    }

    /// The next actions: new pods while there is room for them, and deletions of old pods while enough are available.
    pub fn turn(&mut self, application: &Application) -> Turn {
        let replicas = application.replicas;
        let (surge, unavailable) = (replicas.div_ceil(PART), replicas / PART);
        let (old, new) = (self.old.len() as u32, self.new.len() as u32);
        let created = (replicas - new).min((replicas + surge).saturating_sub(old + new));
        let is_ready = |pod: &u32| matches!(application.pods.get(pod), Some((_, condition)) if *condition == Condition::Ready);
        let available = self.old.iter().chain(&self.new).filter(|pod| is_ready(pod)).count() as u32;
        let mut spare = available.saturating_sub(replicas - unavailable);
        let deleted: Vec<u32> = self
            .old
            .iter()
            .filter(|pod| {
                if is_ready(pod) {
                    let is_spare = spare > 0;
                    spare = spare.saturating_sub(1);
                    is_spare
                } else {
                    true
                }
            })
            .copied()
            .collect();
        for pod in &deleted {
            self.old.remove(pod);
        }
        Turn { created, deleted }
    }
}
