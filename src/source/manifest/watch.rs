//! Waits for manifests to change.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tracing::error;

use super::{
    inotify::Inotify,
    problem::{Problem, report},
    source::{Objects, Refresh, Source},
};
use crate::source::event::{Event, Inbox};

/// A file is read when it has not changed for so long: its writer may not be done.
const QUIET: Duration = Duration::from_millis(40);

/// A file that changes all the time is read this often.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often files are checked without an event: network file systems send none for changes made elsewhere.
const LOOK: Duration = Duration::from_secs(10);

/// How often they are checked if something cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// Follows the manifests of a [`Source`].
///
/// ```no_run
/// use portolan::source::manifest::Source;
///
/// let source = Source::new(["manifests".into()], "node-1");
/// let (mut watcher, objects) = source.watch()?;
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
    inotify: Inotify,
    /// Paths with recent events.
    restless: HashMap<Arc<Path>, Restless>,
    next_look: Instant,
    /// Why something cannot be watched, as last reported.
    unwatched: Option<String>,
}

/// The times of the first and the last recent event of a path.
#[derive(Clone, Copy, Debug)]
struct Restless {
    since: Instant,
    last: Instant,
}

impl Restless {
    /// When the path is to be read.
    fn due(self) -> Instant {
        (self.last + QUIET).min(self.since + PATIENCE)
    }
}

impl AsFd for Watcher {
    /// Readable when [`Watcher::wait`] may have something to do; `wait` must be called then.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Source {
    /// Reads all manifests, and from then on watches them.
    ///
    /// # Errors
    /// The kernel gives no inotify instance.
    pub fn watch(self) -> io::Result<(Watcher, Objects)> {
        let inotify = Inotify::new()?;
        let mut watcher = Watcher {
            source: self,
            inotify,
            restless: HashMap::new(),
            next_look: Instant::now(),
            unwatched: None,
        };
        // Watched before they are read, files cannot change unnoticed in between.
        watcher.watch_paths();
        let mut objects = watcher.source.load();
        let (is_new, problem) = watcher.watch_paths();
        objects.warnings.extend(problem);
        watcher.next_look = Instant::now() + watcher.look_interval();
        if is_new {
            watcher.next_look = Instant::now();
        }
        Ok((watcher, objects))
    }
}

impl Watcher {
    /// Reports what changes from now on, on a thread of its own; problems are logged.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(mut self, inbox: impl Inbox) -> io::Result<()> {
        let watching = move || {
            loop {
                match self.wait(None) {
                    Ok(update) if update.is_empty() => {}
                    Ok(Refresh { changes, warnings, errors, completeness }) => {
                        report(&warnings, &errors);
                        if inbox.report(Event::Manifests { changes, completeness }).is_err() {
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
        std::thread::Builder::new().name("manifests".into()).spawn(watching)?;
        Ok(())
    }

    /// Waits for changes, at most for the given time, and returns them; empty if there are none.
    ///
    /// A change is returned about 40 ms after the last write to its file, or one second after the first
    /// if writes go on.
    ///
    /// # Errors
    /// Events cannot be read.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Refresh> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.read_events()?;
            let now = Instant::now();
            if now >= self.next_look || self.restless.values().any(|path| now >= path.due()) {
                self.restless.retain(|_, path| now < path.due());
                let update = self.look();
                if !update.is_empty() {
                    return Ok(update);
                }
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(Refresh::default());
            }
            let due = self.restless.values().map(|path| path.due());
            let wake = due.chain(deadline).chain([self.next_look]).min().unwrap_or(now);
            self.sleep(wake.saturating_duration_since(now))?;
        }
    }

    /// Whether there is anything but streams, which are read once.
    pub fn can_change(&self) -> bool {
        self.source.paths().next().is_some()
    }

    fn read_events(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let restless = &mut self.restless;
        let is_lost = self.inotify.read(|path| {
            restless.entry(path).or_insert(Restless { since: now, last: now }).last = now;
        })?;
        if is_lost {
            self.next_look = self.next_look.min(now + QUIET);
        }
        Ok(())
    }

    fn sleep(&self, time: Duration) -> io::Result<()> {
        // Rounded up to a millisecond, so as not to wake too early.
        let time = time + Duration::from_millis(1);
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads files that have changed, and do not change any more.
    fn look(&mut self) -> Refresh {
        let mut update = Refresh::default();
        // Each round may find directories and links that lead elsewhere.
        for _ in 0..4 {
            let (_, problem) = self.watch_paths();
            update.warnings.extend(problem);
            let restless = &self.restless;
            update.append(self.source.refresh(&|path| restless.contains_key(path)));
            let (is_new, problem) = self.watch_paths();
            update.warnings.extend(problem);
            if !is_new {
                break;
            }
        }
        self.next_look = Instant::now() + self.look_interval();
        update
    }

    fn look_interval(&self) -> Duration {
        if self.unwatched.is_some() { LOOK_UNWATCHED } else { LOOK }
    }

    /// Watches the present paths. Returns whether some are new, and a new problem with watching.
    fn watch_paths(&mut self) -> (bool, Option<Problem>) {
        let paths = self.source.paths().chain(self.source.links());
        let (is_new, failure) = match self.inotify.watch(paths) {
            Ok(is_new) => (is_new, None),
            Err(error) => (false, Some(error.to_string())),
        };
        let is_known = failure == self.unwatched;
        self.unwatched = failure;
        let problem = self.unwatched.as_ref().filter(|_| !is_known).and_then(|error| {
            let file = self.source.paths().next()?;
            let message = format!("cannot be watched, so it is checked every second: {error}");
            Some(Problem::of_file(file, message))
        });
        (is_new, problem)
    }
}
