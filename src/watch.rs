//! Waits for files to change: manifests, and the configuration file.
//!
//! The directories on the way to a file are watched, so that the file may be written in place, replaced by a rename,
//! reached through links that are swapped, as in a `ConfigMap`, or be in a directory that is removed and created again.

mod inotify;

use std::{
    collections::HashMap,
    io,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use inotify::Inotify;

/// A file is read when it has not changed for this long: its writer may not be done before.
const QUIET: Duration = Duration::from_millis(40);

/// A file that changes all the time is read this often.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often files are checked without an event: network file systems send none for changes made elsewhere.
const LOOK: Duration = Duration::from_secs(10);

/// How often files are checked if something cannot be watched.
const LOOK_UNWATCHED: Duration = Duration::from_secs(1);

/// Watches paths. If the kernel does not allow that, for example because other processes have used up the inotify
/// instances, the files are checked every second instead.
#[derive(Debug)]
pub struct FileWatch {
    inotify: io::Result<Inotify>,
    /// Paths with recent events.
    restless: HashMap<Arc<Path>, Restless>,
    next_look: Instant,
    /// Why something cannot be watched, as last returned.
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

impl FileWatch {
    /// Creates a watch without paths. In a directory that is itself a watched path, entries matter whose names
    /// `matters` accepts.
    pub fn new(matters: fn(&str) -> bool) -> Self {
        Self {
            inotify: Inotify::new(matters),
            restless: HashMap::new(),
            next_look: Instant::now(),
            unwatched: None,
        }
    }

    /// Watches these paths and no others. Returns whether some directories are new, so that their earlier changes were
    /// missed, and why something cannot be watched, if that is new.
    pub fn set<'a>(&mut self, paths: impl Iterator<Item = &'a Arc<Path>>) -> (bool, Option<String>) {
        let result = match &mut self.inotify {
            Ok(inotify) => inotify.watch(paths).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let (is_new, failure) = result.map_or_else(|error| (false, Some(error)), |is_new| (is_new, None));
        let news = failure.clone().filter(|_| failure != self.unwatched);
        self.unwatched = failure;
        (is_new, news)
    }

    /// Waits until something must be read: a path that has changed and does not change any more, or, from time to time,
    /// everything. Returns false if the deadline comes first.
    ///
    /// # Errors
    /// Events cannot be read.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<bool> {
        loop {
            self.read_events()?;
            let now = Instant::now();
            if now >= self.next_look || self.restless.values().any(|path| now >= path.due()) {
                self.restless.retain(|_, path| now < path.due());
                return Ok(true);
            }
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(false);
            }
            let due = self.restless.values().map(|path| path.due());
            let wake = due.chain(deadline).chain([self.next_look]).min().unwrap_or(now);
            self.sleep(wake.saturating_duration_since(now))?;
        }
    }

    /// Whether a path has changed just now, so that it must not be read yet.
    pub fn is_restless(&self, path: &Path) -> bool {
        self.restless.contains_key(path)
    }

    /// Notes that everything has been checked. With `again`, it is checked again at once.
    pub fn looked(&mut self, again: bool) {
        let interval = match (again, &self.unwatched) {
            (true, _) => Duration::ZERO,
            (false, Some(_)) => LOOK_UNWATCHED,
            (false, None) => LOOK,
        };
        self.next_look = Instant::now() + interval;
    }

    fn read_events(&mut self) -> io::Result<()> {
        let Ok(inotify) = &mut self.inotify else { return Ok(()) };
        let now = Instant::now();
        let restless = &mut self.restless;
        let is_lost = inotify.read(|path| {
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
        let Ok(inotify) = &self.inotify else {
            thread::sleep(time);
            return Ok(());
        };
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        let mut fds = [PollFd::from_borrowed_fd(inotify.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
