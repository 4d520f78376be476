//! Starts the removal of stale flows, and reports what was removed.

use std::time::{Duration, Instant};

use tracing::warn;

use super::{core::Agent, queue::Sender};
use crate::{kernel::nftables::Tables, observe::report::Report};

/// The longest wait for the worker to finish.
const PATIENCE: Duration = Duration::from_secs(10);

impl<T: Tables> Agent<T> {
    /// Starts a thread that removes stale flows, in the network namespace of the calling thread. The thread sends an
    /// event when there is something for [`Agent::flows_removed`].
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn remove_stale_flows(&mut self, events: Option<Sender>) -> std::io::Result<()> {
        self.stale_flows.start(events)
    }

    /// Reports the stale flows that were removed. Returns whether there are more flows to hand over, which the next
    /// sync does.
    pub fn flows_removed(&mut self) -> bool {
        let (reports, failing, is_found) = self.stale_flows.take_outcome(&self.compiler, &self.state);
        for report in &reports {
            self.observer.report(Report::FlowsRemoved { removal: *report, pending: failing });
        }
        is_found
    }

    /// Waits until the stale flows that were handed over are removed, without retries.
    pub fn finish_flows(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let is_settled = self.stale_flows.wait(until);
            if self.flows_removed() {
                self.stale_flows.hand_over(&self.compiler, self.input_incomplete);
            } else if is_settled {
                return;
            } else if Instant::now() >= until {
                warn!(after = ?PATIENCE, "The search for stale flows takes long; continuing without waiting for it");
                return;
            }
        }
    }
}
