//! Limits what stays in memory after large work.
//!
//! Reading manifests and comparing everything with the kernel take much memory for a moment. glibc keeps freed memory
//! for the next time, which may be hours away, and other processes on the node need that memory. Environment variables
//! could do some of this, but every installation would have to set them.
//!
//! Code that ran also stays mapped, 64 KiB around each of its pages, though most of the code that a start runs never
//! runs again.

#[cfg(target_env = "gnu")]
use std::{ffi::c_int, thread::available_parallelism};

use procfs::process::{MMPermissions, MMapPath, Process};
use rustix::mm::{Advice, madvise};

// Functions of glibc that no crate declares. They take numbers, and are safe to call at any time from any thread.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code)]
unsafe extern "C" {
    safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    safe fn malloc_trim(keep: usize) -> c_int;
}

/// `M_ARENA_MAX` of malloc.h.
#[cfg(target_env = "gnu")]
const ARENA_MAX: c_int = -8;

/// The most arenas: as many as the most threads that read manifests at once.
#[cfg(target_env = "gnu")]
const ARENAS: c_int = 4;

/// Limits the number of arenas: each arena has its own free memory, and most threads only wait. Call this function
/// before starting threads.
pub(crate) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let processors =
            available_parallelism().map_or(1, |count| c_int::try_from(count.get()).unwrap_or(ARENAS));
        // A refusal costs only memory.
        mallopt(ARENA_MAX, processors.min(ARENAS));
    }
}

/// Returns free memory to the system, and unmaps the code. Code that runs again is mapped from the page cache, in a
/// microsecond for 64 KiB.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    malloc_trim(0);
    // Without /proc the code stays mapped.
    let Ok(maps) = Process::myself().and_then(|process| process.maps()) else { return };
    // Code is read from its file and never written: the loader writes to other pages only.
    let is_code = MMPermissions::READ | MMPermissions::EXECUTE | MMPermissions::PRIVATE;
    for map in maps.into_iter().filter(|map| map.perms == is_code) {
        if let (MMapPath::Path(_), (start, end)) = (map.pathname, map.address) {
            // SAFETY: the pages of this mapping have the bytes of its file, and the next access maps them again.
            #[expect(unsafe_code)]
            let _ = unsafe { madvise(start as *mut _, (end - start) as usize, Advice::LinuxDontNeed) };
        }
    }
}
