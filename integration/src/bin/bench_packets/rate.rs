//! The number of connections a second through a node, with all cores busy.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Result, arena::Arena, variant::Variant};

/// How often every ruleset has a turn.
const TURNS: usize = 25;

/// Connections a second in the turns of each ruleset, `time` in total for each. One thread per core makes them.
pub fn measure(arenas: &[(&Variant, Arena)], time: Duration) -> Result<Vec<Vec<f64>>> {
    let mut turns = vec![Vec::new(); arenas.len()];
    for turn in 0..TURNS {
        for place in 0..arenas.len() {
            let i = (place + turn) % arenas.len();
            turns[i].push(one_turn(&arenas[i], time / TURNS as u32)?);
        }
    }
    Ok(turns)
}

fn one_turn((variant, arena): &(&Variant, Arena), time: Duration) -> Result<f64> {
    let target = variant.target().into();
    let connect = || {
        let connect = || {
            arena.enter()?;
            let (begun, mut connections) = (Instant::now(), 0_u32);
            while begun.elapsed() < time {
                arena.connect(&target)?;
                connections += 1;
            }
            Ok(f64::from(connections) / begun.elapsed().as_secs_f64())
        };
        connect().map_err(|error: Box<dyn std::error::Error>| error.to_string())
    };
    let cores = thread::available_parallelism()?.get();
    let rates: Vec<Result<f64, String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(connect)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    });
    Ok(rates.into_iter().sum::<Result<f64, String>>()?)
}
