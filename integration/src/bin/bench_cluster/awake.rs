//! Keeps processors awake.

use std::{
    process::{Child, Command},
    thread::available_parallelism,
};

use super::Result;

/// Keeps every processor awake until this is dropped, with one process each that runs when nothing else does
/// (`SCHED_IDLE`).
///
/// Waking a sleeping processor takes long in a virtual machine, and how long depends on the host.
pub struct Awake(Vec<Child>);

impl Awake {
    pub fn new() -> Result<Self> {
        let mut awake = Self(Vec::new());
        for _ in 0..available_parallelism()?.get() {
            let spins = ["--idle", "0", "sh", "-c", "while :; do :; done"];
            awake.0.push(Command::new("chrt").args(spins).spawn()?);
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // A process that has already ended needs neither.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
