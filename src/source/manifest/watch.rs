//! Waits for manifests to change.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::error;

use super::{
    files,
    problem::{Problem, report},
    refresh::{Objects, Refresh},
    source::Source,
};
use crate::{
    observe::health::Health,
    source::{
        eligibility::EligibilityTracker,
        event::{Inbox, SourceEvent, Update},
    },
    watch::FileWatch,
};

/// Follows the manifests of a [`Source`].
///
/// ```no_run
/// use portolan::source::manifest::Source;
///
/// let source = Source::new(["manifests".into()], "node-1");
/// let (mut watcher, objects) = source.watch();
/// println!("{} Services", objects.services.len());
/// loop {
///     let update = watcher.wait(None)?;
///     for error in update.errors {
///         eprintln!("{error}");
///     }
///     println!("{} changes", update.changes.len());
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    watch: FileWatch,
}

impl Source {
    /// Reads all manifests, and from then on watches them.
    pub fn watch(self) -> (Watcher, Objects) {
        let mut watcher = Watcher { source: self, watch: FileWatch::new(files::is_manifest) };
        // Files are watched before they are read, so that they cannot change unnoticed in between.
        let (_, problem) = watcher.watch_paths();
        let mut objects = watcher.source.load();
        let (is_new, another) = watcher.watch_paths();
        objects.warnings.extend(problem.into_iter().chain(another));
        watcher.watch.looked(is_new);
        (watcher, objects)
    }
}

impl Watcher {
    /// Reports changes from now on, on a separate thread. Problems are logged.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(mut self, inbox: impl Inbox, health: Health) -> io::Result<()> {
        let tracker = EligibilityTracker::new(Arc::clone(&self.source.node_name));
        tracker.update(self.source.cluster.eligibility, &health);
        let watching = move || {
            loop {
                match self.wait(None) {
                    Ok(update) if update.is_empty() => {}
                    Ok(Refresh { changes, warnings, errors, completeness, eligibility }) => {
                        if let Some(eligibility) = eligibility {
                            tracker.update(eligibility, &health);
                        }
                        report(&warnings, &errors);
                        let update = Update { changes, completeness, ..Update::default() };
                        if inbox.report(SourceEvent::Update(update)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        error!(%error, "Manifests cannot be watched; changes are no longer seen");
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new().name("manifests".into()).spawn(watching).map(drop)
    }

    /// Waits for changes, at most for the given time, and returns them; the refresh is empty if there are none.
    ///
    /// A change is returned about 40 ms after the last write to its file, or one second after the first
    /// if writes go on.
    ///
    /// # Errors
    /// Events cannot be read.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Refresh> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        while self.watch.wait(deadline)? {
            let update = self.look();
            if !update.is_empty() {
                return Ok(update);
            }
        }
        Ok(Refresh::default())
    }

    /// Whether there is a path other than streams, which are read only once.
    pub fn can_change(&self) -> bool {
        self.source.paths().next().is_some()
    }

    /// Reads files that have changed, and do not change any more.
    fn look(&mut self) -> Refresh {
        let mut update = Refresh::default();
        // Each round may find directories and links that lead elsewhere.
        for _ in 0..4 {
            let (_, problem) = self.watch_paths();
            update.warnings.extend(problem);
            let watch = &self.watch;
            update.append(self.source.refresh(&|path| watch.is_restless(path)));
            let (is_new, problem) = self.watch_paths();
            update.warnings.extend(problem);
            if !is_new {
                break;
            }
        }
        self.watch.looked(false);
        update
    }

    /// Watches the present paths. Returns whether some are new, and a new problem with watching.
    fn watch_paths(&mut self) -> (bool, Option<Problem>) {
        let (is_new, failure) = self.watch.set(self.source.paths().chain(self.source.links()));
        let problem = failure.and_then(|error| {
            let file = self.source.paths().next()?;
            let message = format!("cannot be watched, so it is checked every second: {error}");
            Some(Problem::of_file(file, message))
        });
        (is_new, problem)
    }
}
