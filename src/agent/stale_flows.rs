//! Stale flows: collects the destinations to search, and hands them to the worker once the kernel has the rules.

mod worker;

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, thread, time::Instant};

use super::queue::Sender;
use crate::observe::report::FlowRemoval;
use portolan_rules::{
    compile::Compiler,
    incremental::flows::{Destination, Flows, Stale, destinations},
    ruleset::Ruleset,
    state::State,
};
use worker::Shared;

/// Destinations whose flows may be stale.
#[derive(Debug, Default)]
pub(super) struct StaleFlows {
    /// UDP destinations to search once the kernel has their rules.
    udp: BTreeSet<SocketAddr>,
    /// Endpoints of other protocols that no slice lists any more.
    gone: Flows,
    /// Destinations that an earlier run answered and this run does not, of protocols other than UDP.
    ceased: BTreeSet<Destination>,
    /// Whether the flows of these protocols are to be surveyed.
    survey: bool,
    /// The worker's tasks, once there is a worker.
    shared: Option<Arc<Shared>>,
}

impl Drop for StaleFlows {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.close();
        }
    }
}

impl StaleFlows {
    /// Starts the worker, in the network namespace of the calling thread. Until then, everything is only noted.
    pub(super) fn start(&mut self, events: Option<Sender>) -> std::io::Result<()> {
        let shared = self.shared.insert(Arc::default()).clone();
        let work = move || worker::work(&shared, events.as_ref());
        thread::Builder::new().name("flows".into()).spawn(work).map(drop)
    }

    /// Notes the destinations of these tables, which are about to be replaced.
    pub(super) fn note_replaced(&mut self, kernel: &Ruleset) {
        self.udp.extend(destinations(kernel));
    }

    /// Notes which flows an update may make stale, once the kernel has the update. For destinations that are being
    /// searched, the update applies at once: an endpoint that is back has new flows as soon as the kernel has the
    /// update.
    pub(super) fn note(&mut self, compiler: &Compiler, update: &Stale, input_incomplete: bool) {
        self.gone.follow(update, |udp| compiler.flows(udp));
        if let Some(shared) = self.shared.clone() {
            shared.tasks().each(|flows| {
                flows.follow(update, |udp| compiler.flows(udp));
                self.take_back(compiler, flows, input_incomplete);
            });
        }
        self.udp.extend(&update.udp);
        self.gone.extend(update.gone());
    }

    /// If part of the input is unreadable, keeps back destinations that no object claims any more: the kernel still has
    /// them, in case an unreadable object claims them.
    fn take_back(&mut self, compiler: &Compiler, flows: &mut Flows, input_incomplete: bool) {
        if !input_incomplete {
            return;
        }
        for (destination, gone) in flows.split_off_unowned(&compiler.frontends(flows.destinations())) {
            match gone {
                Some(gone) => self.gone.add_gone(destination, gone),
                None => drop(self.udp.insert(destination.at)),
            }
        }
    }

    /// Notes that any flow may be older than the rules.
    pub(super) fn note_all(&mut self, compiler: &Compiler) {
        self.udp.extend(compiler.udp_destinations());
        self.survey = true;
    }

    /// Notes which flows may be stale after the kernel was read back. What happened meanwhile is unknown, so all
    /// destinations that the kernel had, or has from now on, are noted. If part of the input is unreadable, only new
    /// destinations are noted: the endpoints of the others are unknown. For protocols other than UDP, only the first
    /// reading shows anything new: later, endpoints that go are noticed.
    pub(super) fn note_compared(
        &mut self,
        compiler: &Compiler,
        [kernel, desired]: [&Ruleset; 2],
        is_first: bool,
        input_incomplete: bool,
    ) {
        let (before, after) = (destinations(kernel), destinations(desired));
        if input_incomplete {
            self.udp.extend(after.difference(&before));
        } else {
            self.udp.extend(before);
            self.udp.extend(after);
        }
        if is_first || self.survey {
            self.survey = true;
            self.ceased.extend(compiler.ceased(kernel));
        }
    }

    /// Hands what was noted to the worker, now that the kernel has the rules.
    pub(super) fn hand_over(&mut self, compiler: &Compiler, input_incomplete: bool) {
        let Some(shared) = self.shared.clone() else { return };
        if self.udp.is_empty() && self.gone.is_empty() && !self.survey {
            return;
        }
        let mut flows = compiler.flows(std::mem::take(&mut self.udp));
        flows.extend(std::mem::take(&mut self.gone));
        self.take_back(compiler, &mut flows, input_incomplete);
        let mut tasks = shared.tasks();
        tasks.add(flows);
        if self.survey && !input_incomplete {
            self.survey = false;
            tasks.survey.wanted = true;
        }
        drop(tasks);
        shared.notify();
    }

    /// Waits until the worker has tried everything, or has an outcome of a survey, but no longer than `until`. Returns
    /// whether only tasks that the worker will retry are left.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let Some(shared) = &self.shared else { return true };
        let mut tasks = shared.tasks();
        tasks.hurried = true;
        shared.notify();
        while !tasks.is_settled() && tasks.survey.found.is_none() && Instant::now() < until {
            tasks = shared.wait(tasks, Some(until));
        }
        tasks.hurried = false;
        tasks.is_settled()
    }

    /// Returns what the worker has done since the last call, whether a task failed and will be retried, and whether a
    /// survey found something to hand over.
    pub(super) fn take_outcome(
        &mut self,
        compiler: &Compiler,
        state: &State,
    ) -> (Vec<FlowRemoval>, bool, bool) {
        let Some(shared) = &self.shared else { return (Vec::new(), false, false) };
        let mut tasks = shared.tasks();
        let (reports, failing) = (std::mem::take(&mut tasks.reports), tasks.is_failing());
        let found = tasks.survey.found.take();
        tasks.survey.wanted &= found.is_none();
        drop(tasks);
        let is_found = found.is_some_and(|found| {
            let unlisted = compiler.unlisted(state, &std::mem::take(&mut self.ceased), found);
            let is_found = !unlisted.is_empty();
            self.gone.extend(unlisted);
            is_found
        });
        (reports, failing, is_found)
    }
}
