//! Memory that is free goes back to the system.
//!
//! Reading manifests, and comparing everything with the kernel, take much memory for a moment. glibc keeps what is
//! freed for the next time, which may be hours away, and on a node others need it.

// glibc's own word for it, which no crate has. It takes a number, and is safe to call at any time from any thread.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code)]
unsafe extern "C" {
    safe fn malloc_trim(keep: usize) -> std::ffi::c_int;
}

/// Gives back what is free. Takes about a microsecond for each page that goes.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    malloc_trim(0);
}
