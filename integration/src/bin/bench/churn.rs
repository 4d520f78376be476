//! Many changes: of one Service from its first to its last endpoint, and of all Services at a fixed pace.

use std::time::{Duration, Instant};

use portolan_integration::synthetic::{Kinds, spare};

use super::{
    Result,
    arena::{Arena, cpu, swap},
    figure::Figure,
    rows::Unit,
};

/// Endpoints of the Service that is updated.
const ENDPOINTS: u32 = 500;
/// How long a Deployment takes for that.
const UPDATE: Duration = Duration::from_mins(1);
/// Time between two changes, at a pace of 1,000 a second.
const PACE: Duration = Duration::from_millis(1);
/// How long the churn lasts.
const CHURN: Duration = Duration::from_secs(10);
/// How long it lasts in a full run.
const FULL_CHURN: Duration = Duration::from_secs(30);
/// Changes that are not committed this long after the last change lag behind.
const GRACE: Duration = Duration::from_millis(10);

/// The rolling update and the churn.
pub fn measure(services: u32, full: bool) -> Result<Vec<Figure>> {
    let rolling = rolling(services)?;
    Ok([vec![rolling], churn(services, if full { FULL_CHURN } else { CHURN })?].concat())
}

/// Replaces every endpoint: each new endpoint comes in one change, and an old one goes in the next. Changes come as
/// fast as they are committed; the figure is the CPU time for all of them.
fn rolling(services: u32) -> Result<Figure> {
    let mut arena = Arena::new(services, Kinds::Large(ENDPOINTS))?;
    let started = cpu()?;
    let mut slices = arena.synthetic.slices(0);
    let mut number = 0;
    for slice in &mut slices {
        for _ in 0..slice.endpoints.len() {
            slice.endpoints.push(spare(slice, number));
            arena.set_slices(vec![slice.clone()])?;
            slice.endpoints.remove(0);
            arena.set_slices(vec![slice.clone()])?;
            number += 1;
        }
    }
    let used = cpu()?.saturating_sub(started);
    let detail =
        format!("{} for each of {}", Unit::Time.show(used.as_secs_f64() / f64::from(2 * number)), 2 * number);
    Ok(Figure::new("rolling", used.as_secs_f64() / UPDATE.as_secs_f64()).with(detail))
}

/// Swaps endpoints at a fixed pace. Like the agent, commits all changes since the last commit at once.
fn churn(services: u32, time: Duration) -> Result<Vec<Figure>> {
    let mut arena = Arena::new(services, Kinds::Plain)?;
    let total = time.div_duration_f64(PACE) as u32;
    let (cpu_before, started) = (cpu()?, Instant::now());
    let (mut done, mut late, mut longest) = (0, 0, Duration::ZERO);
    while done < total {
        let due = PACE * done;
        std::thread::sleep(due.saturating_sub(started.elapsed()));
        let come = (started.elapsed().div_duration_f64(PACE) as u32 + 1).min(total);
        let mut slices = Vec::new();
        for i in done..come {
            // Every second time, a Service is changed back.
            let n = arena.next();
            let back = i / services % 2 == 1;
            slices.extend(if back { arena.last_slices(n) } else { arena.changed(n, swap) });
        }
        arena.set_slices(slices)?;
        let wait = started.elapsed().saturating_sub(due);
        longest = longest.max(wait);
        if started.elapsed() > PACE * (total - 1) + GRACE {
            late += come - done;
        }
        done = come;
    }
    let used = cpu()?.saturating_sub(cpu_before);
    Ok(vec![
        Figure::new("churn", used.as_secs_f64() / started.elapsed().as_secs_f64()),
        Figure::new("lag", f64::from(late)).with(Unit::Time.show(longest.as_secs_f64())),
    ])
}
