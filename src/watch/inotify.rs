//! The directories to watch for paths, and the meaning of their events.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs, io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};

/// How many links a path may lead through (Linux: `MAXSYMLINKS`).
const LINKS: usize = 40;

/// Events of a directory that may mean a change of the file at a path.
const EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// The part of a watched directory that matters.
#[derive(Debug, Default)]
struct Interest {
    /// This directory, if it is itself a watched path: its entries matter.
    directory: Option<Arc<Path>>,
    /// Names in it, with the watched paths that lead through them.
    names: HashMap<OsString, Vec<Arc<Path>>>,
}

/// An inotify instance. Directories are watched, never files: an editor that replaces a file, or a
/// `ConfigMap` that swaps a link, changes the directory.
#[derive(Debug)]
pub(super) struct Inotify {
    fd: OwnedFd,
    /// Which entries of a watched directory matter, by name.
    matters: fn(&str) -> bool,
    watches: HashMap<i32, Vec<Interest>>,
}

impl Inotify {
    pub fn new(matters: fn(&str) -> bool) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { fd, matters, watches: HashMap::new() })
    }

    /// A file descriptor that is readable while events wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Watches everything on the way to these paths and nothing else. Returns whether a directory is newly
    /// watched, so that its earlier changes were missed.
    ///
    /// # Errors
    /// An existing directory cannot be watched, for example because of `fs.inotify.max_user_watches`; the
    /// other directories are watched.
    pub fn watch<'a>(&mut self, paths: impl Iterator<Item = &'a Arc<Path>>) -> io::Result<bool> {
        let mut interests: BTreeMap<PathBuf, Interest> = BTreeMap::new();
        for path in paths {
            for (directory, name) in way(path) {
                let names = &mut interests.entry(directory).or_default().names;
                names.entry(name).or_default().push(Arc::clone(path));
            }
            if path.is_dir() {
                interests.entry(path.to_path_buf()).or_default().directory = Some(Arc::clone(path));
            }
        }
        let mut watches: HashMap<i32, Vec<Interest>> = HashMap::new();
        let mut result = Ok(());
        for (directory, interest) in interests {
            match inotify::add_watch(&self.fd, &directory, EVENTS) {
                Ok(watch) => watches.entry(watch).or_default().push(interest),
                // The directory is gone; its parent is watched, and has an event for that.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => result = Err(error.into()),
            }
        }
        for watch in self.watches.keys().filter(|watch| !watches.contains_key(watch)) {
            // The watch may be gone with its directory.
            _ = inotify::remove_watch(&self.fd, *watch);
        }
        let is_new = watches.keys().any(|watch| !self.watches.contains_key(watch));
        self.watches = watches;
        result.map(|()| is_new)
    }

    /// Reads all waiting events, and passes the paths that they touch to `touched`. Returns whether
    /// events or a watched directory were lost: anything may have changed then.
    pub fn read(&mut self, mut touched: impl FnMut(Arc<Path>)) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut is_lost = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(is_lost),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let of_directory = ReadFlags::QUEUE_OVERFLOW
                | ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::UNMOUNT
                | ReadFlags::IGNORED;
            is_lost |= event.events().intersects(of_directory);
            if event.events().contains(ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
            }
            let Some(name) = event.file_name() else { continue };
            let name = OsStr::from_bytes(name.to_bytes());
            for interest in self.watches.get(&event.wd()).into_iter().flatten() {
                interest.names.get(name).into_iter().flatten().cloned().for_each(&mut touched);
                if let Some(directory) = &interest.directory
                    && name.to_str().is_some_and(self.matters)
                {
                    touched(directory.join(name).into());
                }
            }
        }
    }
}

/// The directory entries that determine the file at a path: its own entry, the entries of symbolic links on
/// the way, and the first entry that does not exist.
fn way(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut entries = Vec::new();
    let mut rest: Vec<OsString> = names(path);
    let mut at = if path.is_absolute() { PathBuf::from("/") } else { PathBuf::from(".") };
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            // `at` has no links, so this is the real parent.
            let is_above = at == Path::new(".") || at.ends_with("..");
            at = if is_above { at.join("..") } else { at.parent().unwrap_or(&at).to_path_buf() };
            continue;
        }
        let next = at.join(&name);
        let target = fs::read_link(&next);
        if rest.is_empty() || target.is_ok() || fs::symlink_metadata(&next).is_err() {
            entries.push((at.clone(), name));
        }
        match target {
            Ok(target) if links < LINKS => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                rest.extend(names(&target));
            }
            _ if fs::symlink_metadata(&next).is_err() => break,
            _ => at = next,
        }
    }
    entries
}

/// The names in a path, last first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}
