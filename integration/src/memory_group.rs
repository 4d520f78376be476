//! The memory that the kernel charges: pages of processes, and kernel allocations for them, such as elements of sets.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A control group of the memory controller, of either version, below that of this process. It is removed when this is
/// dropped, if its processes have ended.
#[derive(Debug)]
pub struct MemoryGroup {
    directory: PathBuf,
    /// Reports the number of charged bytes.
    charged: File,
    /// Reports the peak of charged bytes since the last write to this open file.
    most: File,
}

const VERSION_1: [&str; 2] = ["memory.usage_in_bytes", "memory.max_usage_in_bytes"];
const VERSION_2: [&str; 2] = ["memory.current", "memory.peak"];

impl MemoryGroup {
    /// Creates a group; `None` if this process may not, or if the kernel has no such controller.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of = |prefix: &str| groups.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path));
        let parents = [(":memory:", "memory", VERSION_1), ("0::", "", VERSION_2)];
        let (path, hierarchy, files) = parents
            .into_iter()
            .find_map(|(prefix, hierarchy, files)| of(prefix).map(|path| (path, hierarchy, files)))?;
        let name = format!("portolan-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let parent = Path::new("/sys/fs/cgroup").join(hierarchy).join(path.trim_start_matches('/'));
        let directory = parent.join(name);
        fs::create_dir(&directory).ok()?;
        // Where the controller is not delegated, these files do not exist.
        let [charged, most] = files
            .map(|file| File::options().read(true).write(file != VERSION_2[0]).open(directory.join(file)));
        let opened =
            charged.and_then(|charged| Ok(Self { directory: directory.clone(), charged, most: most? }));
        let group = opened.and_then(|group| group.forget_most().map(|()| group));
        if group.is_err() {
            let _ = fs::remove_dir(directory);
        }
        group.ok()
    }

    /// The command prefix that starts a program in the group: it execs the program given after it.
    pub fn enter(&self) -> [String; 4] {
        let enter = format!("echo $$ > '{}' && exec \"$@\"", self.directory.join("cgroup.procs").display());
        ["sh".to_owned(), "-c".to_owned(), enter, "sh".to_owned()]
    }

    /// The number of charged bytes.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn charged(&self) -> io::Result<u64> {
        read(&self.charged)
    }

    /// The peak of charged bytes since it was last reset.
    ///
    /// # Errors
    /// The kernel does not report it.
    pub fn most_charged(&self) -> io::Result<u64> {
        read(&self.most)
    }

    /// Resets the peak to the bytes charged now.
    ///
    /// # Errors
    /// The kernel cannot reset it (version 2 before Linux 6.12).
    pub fn forget_most(&self) -> io::Result<()> {
        self.most.write_all_at(b"0", 0)
    }
}

fn read(file: &File) -> io::Result<u64> {
    let mut bytes = [0; 32];
    let length = file.read_at(&mut bytes, 0)?;
    String::from_utf8_lossy(&bytes[..length]).trim().parse().map_err(io::Error::other)
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The group may still have processes; nothing else can be done about a failure here.
        let _ = fs::remove_dir(&self.directory);
    }
}
