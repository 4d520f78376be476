//! The last commits: what they changed and why, and the last failed commit (kubernetes#74677).

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use portolan_rules::ruleset::Name;
use serde_json::{Value, json};

use super::report::{Cause, Observer, Reconcile, Report, Sampled, shortened};
use crate::api::ObjectId;

/// How many commits are kept.
const KEPT: usize = 50;

/// A summary of a reconcile.
#[derive(Clone, Debug)]
pub struct Committed {
    /// When the reconcile ended.
    pub at: Timestamp,
    /// Why it was made.
    pub cause: Cause,
    /// Whether the kernel has been equal to the state since then.
    pub succeeded: bool,
    /// The error of the kernel or of the connection to it, if the reconcile failed.
    pub error: Option<Box<str>>,
    /// How long it took.
    pub duration: Duration,
    /// Number of operations.
    pub operations: usize,
    /// Number of changed Services and slices that caused the reconcile.
    pub changes: usize,
    /// The first of these objects.
    pub objects: Vec<ObjectId>,
    /// The first operations.
    pub sample: Vec<Sampled>,
}

/// The last commits; clones share them.
#[derive(Clone)]
pub struct History {
    /// The name of the tables.
    table: Name,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    /// The newest last.
    commits: VecDeque<Committed>,
    /// The last failed commit, however long ago.
    failure: Option<Committed>,
}

impl History {
    /// An empty history of commits to tables of this name.
    pub fn new(table: Name) -> Self {
        Self { table, kept: Arc::default() }
    }

    /// The last commits, newest first, and the last failed commit.
    pub fn commits(&self) -> (Vec<Committed>, Option<Committed>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.commits.iter().rev().cloned().collect(), kept.failure.clone())
    }

    /// The first operations of a commit, as `portolan diff` shows them.
    pub fn operations(&self, commit: &Committed) -> Vec<String> {
        commit.sample.iter().map(|operation| operation.text(&self.table)).collect()
    }

    /// The last commits and the last failed commit, as JSON.
    pub fn to_json(&self) -> Value {
        let (commits, failure) = self.commits();
        let commits: Vec<Value> = commits.iter().map(|commit| self.value(commit)).collect();
        json!({ "commits": commits, "lastFailure": failure.map(|commit| self.value(&commit)) })
    }

    fn value(&self, commit: &Committed) -> Value {
        json!({
            "at": commit.at.to_string(),
            "cause": commit.cause.name(),
            "succeeded": commit.succeeded,
            "error": commit.error,
            "seconds": commit.duration.as_secs_f64(),
            "operations": commit.operations,
            "changes": commit.changes,
            "objects": commit.objects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "sample": self.operations(commit),
        })
    }
}

impl Observer for History {
    fn report(&self, report: Report<'_>) {
        let Report::Reconciled(reconcile) = report else { return };
        let operations = reconcile.operations.iter().sum();
        if reconcile.succeeded && operations == 0 {
            return;
        }
        let Reconcile { cause, succeeded, duration, objects, sample, error, .. } = reconcile;
        let commit = Committed {
            at: Timestamp::now(),
            cause: *cause,
            succeeded: *succeeded,
            error: error.clone().map(shortened),
            duration: *duration,
            operations,
            changes: reconcile.service_changes + reconcile.slice_changes,
            objects: objects.clone(),
            sample: sample.clone(),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !commit.succeeded {
            kept.failure = Some(commit.clone());
        }
        if kept.commits.len() >= KEPT {
            kept.commits.pop_front();
        }
        kept.commits.push_back(commit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::LONGEST;

    fn reconcile(succeeded: bool, operations: usize) -> Reconcile {
        let error = (!succeeded).then(|| "é".repeat(5_000));
        Reconcile { succeeded, operations: [operations, 0], error, ..Reconcile::default() }
    }

    #[test]
    fn the_last_commits_are_kept_and_the_last_failure_for_ever() {
        let history = History::new("portolan".into());
        history.report(Report::Reconciled(&reconcile(false, 0)));
        for operations in 0..200 {
            history.report(Report::Reconciled(&reconcile(true, operations)));
        }
        let (commits, failure) = history.commits();
        assert_eq!(commits.len(), KEPT);
        assert_eq!(commits[0].operations, 199, "the newest first");
        assert!(commits.iter().all(|commit| commit.succeeded));
        assert_eq!(failure.unwrap().error.unwrap().chars().count(), LONGEST + 1);
        let json = history.to_json();
        assert_eq!(
            (&json["commits"][0]["operations"], &json["commits"][0]["cause"]),
            (&199.into(), &"start".into())
        );
        assert_eq!(json["lastFailure"]["succeeded"], false);
    }

    #[test]
    fn what_changed_nothing_is_not_kept() {
        let history = History::new("portolan".into());
        history.report(Report::Reconciled(&reconcile(true, 0)));
        assert!(history.commits().0.is_empty());
    }
}
