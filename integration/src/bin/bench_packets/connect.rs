//! Many connections, with rulesets taking turns.

use std::time::Duration;

use super::{Result, arena::Arena, variant::Variant};

/// The number of connections, and how rulesets take turns.
pub struct Shape {
    /// How often every ruleset is measured.
    pub rounds: usize,
    /// Connections to each ruleset in a round.
    pub connections: usize,
    /// Connections to one ruleset before the next ruleset's turn.
    pub burst: usize,
}

/// The times of one round, sorted.
pub type Round = Vec<Duration>;

/// The rounds of each ruleset. Rulesets take turns within a round, in an order that rotates, so that other work on the
/// machine affects all of them alike.
pub fn measure(arenas: &[(&Variant, Arena)], shape: &Shape) -> Result<Vec<Vec<Round>>> {
    let targets: Vec<_> = arenas.iter().map(|(variant, _)| variant.target().into()).collect();
    let bursts = shape.connections.div_ceil(shape.burst.max(1));
    let mut samples = vec![Vec::new(); arenas.len()];
    for round in 0..shape.rounds {
        let mut times = vec![Vec::with_capacity(shape.connections); arenas.len()];
        for burst in 0..bursts {
            for turn in 0..arenas.len() {
                let i = (turn + round + burst) % arenas.len();
                let (arena, target) = (&arenas[i].1, &targets[i]);
                arena.enter()?;
                // The first connections find the caches as the previous ruleset left them.
                for _ in 0..shape.burst / 10 {
                    arena.connect(target)?;
                }
                for _ in 0..shape.burst {
                    times[i].push(arena.connect(target)?);
                }
            }
        }
        for (samples, mut times) in samples.iter_mut().zip(times) {
            times.sort_unstable();
            samples.push(times);
        }
    }
    Ok(samples)
}
