//! Notices when somebody else changes our tables.
//!
//! The kernel notifies of every commit of anybody, and says at its end which thread made it. A thread of our own
//! reads that as it comes, passes over what the reconciler or others did elsewhere, and wakes the reconciler for
//! the rest.

use std::sync::mpsc::channel;

use portolan_rules::ruleset::{Family, Name};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{error, trace};

use super::{Event, Sender};
use crate::kernel::{self, Generation, Monitor, Scope, Subscription};

/// What somebody else did to our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignChange {
    /// The commit; `None` if notifications were lost, so that it is not known whether there was any.
    pub by: Option<Generation>,
    /// The sets that it touched.
    pub sets: Scope,
}

impl ForeignChange {
    /// Adds a later change. What was lost may have touched anything.
    pub(super) fn append(&mut self, later: Self) {
        if self.by.is_some() && later.by.is_some() {
            self.by = later.by;
            self.sets.extend(later.sets);
        } else {
            *self = Self::default();
        }
    }
}

/// Gathers the notifications of one commit.
#[derive(Debug)]
struct Gatherer {
    table: Name,
    /// The reconciler's thread, as the kernel numbers it: not as its own namespace of processes does.
    own_thread: u32,
    ours: bool,
    sets: Scope,
}

impl Gatherer {
    /// Takes a notification; gives what was changed when it was the last of a foreign commit to our tables.
    fn take(&mut self, event: kernel::Event) -> Option<ForeignChange> {
        let Some(by) = event.generation else {
            let family = Family::ALL.into_iter().find(|family| family.number() == event.family);
            if let Some(family) = family.filter(|_| event.table.as_ref() == Some(&self.table)) {
                self.ours = true;
                self.sets.extend(event.set.map(|set| (family, set)));
            }
            return None;
        };
        let (ours, sets) = (std::mem::take(&mut self.ours), std::mem::take(&mut self.sets));
        trace!(generation = by.id, thread = by.thread, process = by.process, ours, "Generation");
        (ours && by.thread != self.own_thread).then_some(ForeignChange { by: Some(by), sets })
    }

    /// Notifications were lost.
    fn lose(&mut self) -> ForeignChange {
        (self.ours, self.sets) = (false, Scope::new());
        ForeignChange::default()
    }
}

/// Watches the tables of this name, on a thread of its own, for commits of other threads than `own_thread`.
/// What is returned ends the subscription for a while.
pub(super) fn watch(table: Name, own_thread: u32, events: Sender) -> Result<Subscription, kernel::Error> {
    let (opened, outcome) = channel();
    let watching = move || {
        let open = || {
            let monitor = Monitor::open()?;
            let subscription = monitor.subscription()?;
            Ok((monitor, subscription))
        };
        // Opened here, since the socket stays on its thread.
        let mut monitor = match open() {
            Ok((monitor, subscription)) => {
                let _ = opened.send(Ok(subscription));
                monitor
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let mut gatherer = Gatherer { table, own_thread, ours: false, sets: Scope::new() };
        loop {
            let change = match monitor.receive() {
                Ok(Some(event)) => gatherer.take(event),
                Ok(None) => match poll(&mut [PollFd::new(&monitor, PollFlags::IN)], None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => None,
                    Err(error) => return say_deaf(&error),
                },
                Err(kernel::Error::Unknown(_)) => Some(gatherer.lose()),
                Err(error) => return say_deaf(&error),
            };
            if let Some(change) = change
                && events.send(Event::Foreign(change)).is_err()
            {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("nftables".into()).spawn(watching);
    started.map_err(|source| kernel::Error::Io { what: "cannot start a thread", source })?;
    outcome.recv().unwrap_or_else(|_| Err(kernel::Error::Unknown("a thread ended early".to_owned())))
}

fn say_deaf(error: &dyn std::error::Error) {
    error!("Changes of the tables by others are no longer seen until the next full comparison: {error}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 7;

    fn gatherer() -> Gatherer {
        Gatherer { table: "portolan".into(), own_thread: OWN, ours: false, sets: Scope::new() }
    }

    fn object(family: u8, table: &str, set: Option<&str>) -> kernel::Event {
        kernel::Event {
            message: 12,
            family,
            table: Some(table.into()),
            set: set.map(Into::into),
            generation: None,
        }
    }

    fn end(thread: u32) -> kernel::Event {
        let generation = Some(Generation { id: 3, thread, process: "nft".into() });
        kernel::Event { message: 15, family: 0, table: None, set: None, generation }
    }

    #[test]
    fn a_foreign_commit_is_told_with_the_sets_that_it_touched() {
        let mut gatherer = gatherer();
        for event in [
            object(2, "portolan", Some("frontends")),
            object(10, "portolan", None),
            object(2, "other", Some("other")),
            object(1, "portolan", Some("of-family-inet")),
        ] {
            assert_eq!(gatherer.take(event), None);
        }
        let change = gatherer.take(end(8)).unwrap();
        assert_eq!(change.by.unwrap().process, "nft");
        assert_eq!(change.sets, Scope::from([(Family::Ip, "frontends".into())]));
        assert_eq!(gatherer.take(end(8)), None, "the next commit touches nothing of ours");
    }

    #[test]
    fn our_own_commits_and_those_to_other_tables_are_passed_over() {
        let mut gatherer = gatherer();
        assert_eq!(gatherer.take(object(2, "portolan", Some("frontends"))), None);
        assert_eq!(gatherer.take(end(OWN)), None);
        assert_eq!(gatherer.take(object(2, "other", None)), None);
        assert_eq!(gatherer.take(end(8)), None);
    }

    #[test]
    fn what_was_gathered_before_a_loss_means_nothing() {
        let mut gatherer = gatherer();
        gatherer.take(object(2, "portolan", Some("frontends")));
        assert_eq!(gatherer.lose(), ForeignChange::default());
        assert_eq!(gatherer.take(end(8)), None);
    }
}
