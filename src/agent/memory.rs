//! How glibc keeps memory that is free.
//!
//! Reading manifests, and comparing everything with the kernel, take much memory for a moment. glibc keeps freed memory
//! for the next time, which may be hours away, and other processes of the node need it. Environment variables could do
//! some of this, but every installation would have to set them.

#[cfg(target_env = "gnu")]
use std::{ffi::c_int, thread::available_parallelism};

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

/// The most arenas, for as many threads as read manifests at once.
#[cfg(target_env = "gnu")]
const ARENAS: c_int = 4;

/// Limits the number of arenas: each has free memory of its own, and most threads only wait. Call it before starting
/// threads.
pub(crate) fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let processors =
            available_parallelism().map_or(1, |count| c_int::try_from(count.get()).unwrap_or(ARENAS));
        // A refusal costs no more than memory.
        mallopt(ARENA_MAX, processors.min(ARENAS));
    }
}

/// Returns free memory to the system.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    malloc_trim(0);
}
