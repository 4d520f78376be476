//! Stale flows: which destinations to look at, until the rules say the same and the worker has them.

mod worker;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use portolan_rules::{
    compile::Compiler,
    flows::{Destination, Flows, Stale, destinations},
    ruleset::Ruleset,
    state::State,
};
use tracing::warn;

use super::{Agent, FlowRemoval, Report, Sender, Tables};
use worker::Desk;

/// How long the end of what is handed over is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Destinations whose flows may be stale.
#[derive(Debug, Default)]
pub(super) struct StaleFlows {
    /// UDP destinations to look at once the kernel answers them as the compiler says.
    udp: BTreeSet<SocketAddr>,
    /// Of other protocols, endpoints that no slice lists any more.
    gone: Flows,
    /// Destinations that an earlier run answered and this one does not, of protocols other than UDP.
    ceased: BTreeSet<Destination>,
    /// Whether the flows of these protocols are to be surveyed.
    survey: bool,
    /// What the worker has, once there is one.
    desk: Option<Arc<Desk>>,
}

impl Drop for StaleFlows {
    fn drop(&mut self) {
        if let Some(desk) = &self.desk {
            desk.close();
        }
    }
}

impl StaleFlows {
    /// Starts the worker, in the network namespace of the calling thread. Until then everything is noted only.
    pub(super) fn start(&mut self, events: Option<Sender>) -> std::io::Result<()> {
        let desk = self.desk.insert(Arc::default()).clone();
        let work = move || worker::work(&desk, events.as_ref());
        thread::Builder::new().name("flows".into()).spawn(work).map(drop)
    }

    /// Notes what these tables answered, which are about to be replaced.
    pub(super) fn note_replaced(&mut self, kernel: &Ruleset) {
        self.udp.extend(destinations(kernel));
    }

    /// Notes what an update may have made stale, once the kernel has it. What it says of destinations that are looked
    /// at already holds at once: to an endpoint that is back there are new flows as soon as the kernel has the update.
    pub(super) fn note(&mut self, compiler: &Compiler, update: &Stale, input_incomplete: bool) {
        self.gone.follow(update, |udp| compiler.flows(udp));
        if let Some(desk) = self.desk.clone() {
            desk.papers().each(|flows| {
                flows.follow(update, |udp| compiler.flows(udp));
                self.take_back(compiler, flows, input_incomplete);
            });
        }
        self.udp.extend(&update.udp);
        self.gone.extend(update.gone());
    }

    /// With part of the input unreadable, keeps back what nobody claims any more: the kernel still answers it, in case an
    /// unreadable object does.
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

    /// Notes that flows may be older than the rules, wherever they go.
    pub(super) fn note_all(&mut self, compiler: &Compiler) {
        self.udp.extend(compiler.udp_destinations());
        self.survey = true;
    }

    /// Notes what may be stale when the kernel was read back: nobody knows what happened meanwhile, so all that
    /// it answered, or answers from now on. With part of the input unreadable it is not known who serves what
    /// was there before; what was not is taken over all the same. Of protocols other than UDP, only the `first` reading
    /// tells something new: later, endpoints that go are seen.
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

    /// Gives the worker what was noted, now that the kernel answers as the compiler says.
    pub(super) fn hand_over(&mut self, compiler: &Compiler, input_incomplete: bool) {
        let Some(desk) = self.desk.clone() else { return };
        if self.udp.is_empty() && self.gone.is_empty() && !self.survey {
            return;
        }
        let mut flows = compiler.flows(std::mem::take(&mut self.udp));
        flows.extend(std::mem::take(&mut self.gone));
        self.take_back(compiler, &mut flows, input_incomplete);
        let mut papers = desk.papers();
        papers.add(flows);
        if self.survey && !input_incomplete {
            self.survey = false;
            papers.survey();
        }
        drop(papers);
        desk.notify();
    }

    /// What the worker has done since the last call, and whether something failed that it will try again. What a survey
    /// found is noted; says whether there is anything to hand over.
    fn take_outcome(&mut self, compiler: &Compiler, state: &State) -> (Vec<FlowRemoval>, bool, bool) {
        let Some(desk) = &self.desk else { return (Vec::new(), false, false) };
        let mut papers = desk.papers();
        let (reports, failing) = (std::mem::take(&mut papers.reports), papers.is_failing());
        let found = papers.take_survey();
        drop(papers);
        let is_found = found.is_some_and(|found| {
            let unlisted = compiler.unlisted(state, &std::mem::take(&mut self.ceased), found);
            let is_found = !unlisted.is_empty();
            self.gone.extend(unlisted);
            is_found
        });
        (reports, failing, is_found)
    }
}

impl<T: Tables> Agent<T> {
    /// From now on removes stale flows, on a thread of its own, in the network namespace of the calling one. `events` hears
    /// when there is something for [`Agent::flows_removed`].
    ///
    /// # Errors
    /// There can be no thread.
    pub fn remove_stale_flows(&mut self, events: Option<Sender>) -> std::io::Result<()> {
        self.stale_flows.start(events)
    }

    /// Counts what was removed of stale flows. Says whether there is more to hand over, which the next sync does.
    pub fn flows_removed(&mut self) -> bool {
        let (reports, failing, is_found) = self.stale_flows.take_outcome(&self.compiler, &self.state);
        for report in &reports {
            self.observer.report(Report::FlowsRemoved { removal: *report, pending: failing });
        }
        is_found
    }

    /// Waits until the stale flows that were handed over are removed. What fails once is left.
    pub fn finish_flows(&mut self) {
        let until = Instant::now() + PATIENCE;
        let Some(desk) = self.stale_flows.desk.clone() else { return };
        loop {
            let mut papers = desk.papers();
            papers.hurried = true;
            desk.notify();
            while !papers.is_settled() && !papers.is_surveyed() && Instant::now() < until {
                papers = desk.wait(papers, Some(until));
            }
            papers.hurried = false;
            let settled = papers.is_settled();
            drop(papers);
            if self.flows_removed() {
                self.stale_flows.hand_over(&self.compiler, self.input_incomplete);
            } else if settled || Instant::now() >= until {
                if !settled {
                    warn!("Stale flows are still looked for after {PATIENCE:?}");
                }
                return;
            }
        }
    }
}
