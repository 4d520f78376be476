//! The memory of a process that holds the agent's state, and nothing else.

use portolan_integration::synthetic::Kinds;

use super::{
    Result,
    arena::{Arena, swap},
    figure::Figure,
};

/// Changes before memory is measured.
const CHANGES: u32 = 500;

/// Resident memory after a cold start and some changes.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let mut arena = Arena::new(services, Kinds::Plain)?;
    for _ in 0..CHANGES {
        let n = arena.next();
        arena.set_slices(arena.changed(n, swap))?;
    }
    Ok(vec![Figure::new("resident", resident("self")?)])
}

/// The resident memory of a process, in bytes.
pub fn resident(process: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("a process without VmRSS")?;
    let kib: u32 = line.trim_end_matches("kB").trim().parse()?;
    Ok(f64::from(kib) * 1024.0)
}
