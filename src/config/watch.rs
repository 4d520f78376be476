//! Watching the file.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, thread, time::Duration};

/// How often to poll. That works for editors, renames, links that a `ConfigMap` swaps and network file systems alike,
/// and costs a system call.
const INTERVAL: Duration = Duration::from_secs(1);

/// What happened to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It was written or replaced; its content need not differ.
    Written,
    /// It is gone.
    Removed,
}

/// Watches a file on a thread of its own, until the callback returns false. The first look counts as an edit, so that
/// edits since the file was read are not missed.
///
/// # Errors
/// No thread can be started.
pub fn watch(path: &Path, mut callback: impl FnMut(Edit) -> bool + Send + 'static) -> io::Result<()> {
    let path = path.to_owned();
    let watching = move || {
        let mut known = Look::Unknown;
        loop {
            let now = settled(&path);
            if now != known && now != Look::Unknown {
                let edit = if now == Look::Gone { Edit::Removed } else { Edit::Written };
                if !callback(edit) {
                    return;
                }
                known = now;
            }
            thread::sleep(INTERVAL);
        }
    };
    thread::Builder::new().name("configuration".into()).spawn(watching).map(drop)
}

/// What a look at the file shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Unknown,
    Gone,
    /// Device, inode, length, and when it was written and changed.
    There(u64, u64, u64, (i64, i64), (i64, i64)),
}

fn look(path: &Path) -> Look {
    match fs::metadata(path) {
        Ok(file) => Look::There(
            file.dev(),
            file.ino(),
            file.len(),
            (file.mtime(), file.mtime_nsec()),
            (file.ctime(), file.ctime_nsec()),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Gone,
        // For example, there are too many open files; the file itself may be fine.
        Err(_) => Look::Unknown,
    }
}

/// Looks until two looks in a row agree, for two seconds at most: the writer may not be done.
fn settled(path: &Path) -> Look {
    let mut last = look(path);
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        let now = look(path);
        if now == last {
            break;
        }
        last = now;
    }
    last
}
