//! Watching the file.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, thread, time::Duration};

/// How often to look. Looking works for editors, renames, links that a `ConfigMap` swaps and network file systems
/// alike, and costs a system call.
const INTERVAL: Duration = Duration::from_secs(1);

/// What happened to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Somebody wrote it, or another file took its place; its content need not differ.
    Written,
    /// It is gone.
    Removed,
}

/// Looks at a file for as long as the callback says so, on a thread of its own. The callback is also called for
/// what happened since the file was first read: the first look is always taken for an edit.
///
/// # Errors
/// No thread can be started.
pub fn watch(path: &Path, mut told: impl FnMut(Edit) -> bool + Send + 'static) -> io::Result<()> {
    let path = path.to_owned();
    let watching = move || {
        let mut known = Look::Unknown;
        loop {
            let now = settled(&path);
            if now != known && now != Look::Unknown {
                let edit = if now == Look::Gone { Edit::Removed } else { Edit::Written };
                if !told(edit) {
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
        // It cannot be looked at now, such as for want of file descriptors; that says nothing about it.
        Err(_) => Look::Unknown,
    }
}

/// Looks until two looks in a row agree, though not for ever: the writer may not be done.
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
