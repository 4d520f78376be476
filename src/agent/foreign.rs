//! Handles commits by other processes, and notices when one may have been missed.

use std::time::{Duration, Instant};

use tracing::info;

use super::{
    belief::{self, Missed, Sets},
    core::Agent,
    event::ForeignChange,
    queue::Sender,
    watch::listen,
};
use crate::kernel::nftables::{self, Tables};

/// How long to wait for the listening thread, and how often.
const MOMENT: Duration = Duration::from_millis(2);
const MOMENTS: usize = 5;

impl<T: Tables> Agent<T> {
    /// Sends [`Event::Foreign`](super::Event::Foreign) from now on when another process changes our tables. Our own
    /// commits must be made by the calling thread.
    ///
    /// # Errors
    /// The kernel refuses the subscription.
    pub fn listen(&mut self, events: Sender) -> Result<(), nftables::Error> {
        let own_thread = self.kernel.generation()?.thread;
        let listener = listen(self.settings.config.table.clone(), own_thread, events)?;
        listener.caught_up(self.kernel.generation()?.id);
        self.listener = Some(listener);
        Ok(())
    }

    /// Whether every commit up to the present was noticed.
    pub(super) fn noticed_all(&mut self) -> Result<bool, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(false) };
        // The listening thread may be a moment behind.
        for _ in 0..MOMENTS {
            let present = self.kernel.generation()?.id;
            if listener.noticed(present) {
                return Ok(true);
            }
            std::thread::sleep(MOMENT);
        }
        Ok(false)
    }

    /// Unsubscribes before a commit without notifications. Returns the generation, if there is a listener.
    pub(super) fn unsubscribe(&mut self) -> Result<Option<u32>, nftables::Error> {
        let Some(listener) = &self.listener else { return Ok(None) };
        let before = self.kernel.generation()?.id;
        listener.subscribe(false)?;
        Ok(Some(before))
    }

    /// Subscribes again after a commit without notifications. If the generation is not `expected`, another process
    /// committed too.
    pub(super) fn resubscribe(&mut self, expected: u32) {
        let Some(listener) = &self.listener else { return };
        let generation = listener.subscribe(true).and_then(|()| self.kernel.generation());
        let (generation, is_missed) = match generation {
            Ok(generation) => {
                listener.caught_up(generation.id);
                (generation.id, generation.id != expected)
            }
            Err(error) => {
                info!(%error, "Changes by other processes may have been missed");
                (expected, true)
            }
        };
        if is_missed {
            let seen = Instant::now();
            let due = seen + self.back_off.delay(seen);
            self.note(belief::Observation::Missed(Missed { generation, seen, due }));
        }
    }

    /// Notes that another process changed our tables, or may have.
    pub fn foreign(&mut self, change: ForeignChange) {
        let seen = Instant::now();
        let delay = self.back_off.delay(seen);
        let due = seen + delay;
        let elements = change.elements.and_then(|elements| self.comparable(elements));
        let plain = |(family, set)| (family, self.kernel.plain_name(family, &set));
        let sets = change.sets.into_iter().map(plain).collect();
        self.note(match change.by {
            None => belief::Observation::Lost { sets, seen, due },
            Some(by) => {
                let sets = elements.map_or(Sets::Some { named: sets, miscounted: false }, Sets::Only);
                belief::Observation::Changed { by, sets, seen, due }
            }
        });
        if self.belief.is_contested() && !delay.is_zero() {
            self.health.set_contested(true);
        }
        if self.belief.doubt().is_some() {
            self.queued();
        }
    }

    /// Notes what happened to the kernel, or to what is known of it.
    pub(super) fn note(&mut self, event: belief::Observation) {
        self.belief = std::mem::take(&mut self.belief).after(event);
    }
}
