//! One change after another, each committed before the next.

use std::time::Duration;

use portolan_integration::synthetic::Kinds;

use super::{
    Result,
    arena::{Arena, Took, add, median, percentile, remove, swap},
    figure::Figure,
    rows::Unit,
};

/// Rounds. A figure is the median of the rounds' figures, so that moments in which the machine was busy are left out.
const ROUNDS: usize = 9;
/// Changes of each kind in one round.
const CHANGES: usize = 200;
/// The number of Services that other numbers are compared with.
const FEW: u32 = 1_000;

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An endpoint replaced.
    Swap,
    /// An endpoint added.
    Add,
    /// An endpoint removed.
    Remove,
    /// A Service created.
    Create,
    /// A Service deleted.
    Delete,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Swap, Self::Add, Self::Remove, Self::Create, Self::Delete];

    const fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }

    /// Makes one change of this kind and undoes it; returns the time of the change.
    fn once(self, arena: &mut Arena) -> Result<Took> {
        // The number of Services does not change when one is created or deleted.
        let new = arena.synthetic.len();
        match self {
            Self::Create => {
                let took = arena.create(arena.synthetic.service(new), arena.synthetic.slices(new))?;
                arena.delete(new)?;
                Ok(took)
            }
            Self::Delete => {
                arena.create(arena.synthetic.service(new), arena.synthetic.slices(new))?;
                arena.delete(new)
            }
            Self::Swap | Self::Add | Self::Remove => {
                let n = arena.next();
                let change = match self {
                    Self::Swap => swap,
                    Self::Add => add,
                    _ => remove,
                };
                let took = arena.set_slices(arena.changed(n, change))?;
                arena.set_slices(arena.last_slices(n))?;
                Ok(took)
            }
        }
    }
}

/// The times of one kind of change, in each round.
#[derive(Debug, Default)]
pub struct Times {
    half: Vec<Duration>,
    nearly_all: Vec<Duration>,
    kernel: Vec<Duration>,
}

impl Times {
    /// Runs one more round.
    pub fn round(&mut self, arena: &mut Arena, kind: Kind) -> Result<()> {
        let took: Vec<Took> = (0..CHANGES).map(|_| kind.once(arena)).collect::<Result<_>>()?;
        let mut whole: Vec<_> = took.iter().map(|took| took.whole).collect();
        self.half.push(percentile(&mut whole, 50));
        self.nearly_all.push(percentile(&mut whole, 99));
        self.kernel.push(median(took.iter().map(|took| took.kernel).collect()));
        Ok(())
    }

    /// The median change, with the kernel's part.
    pub fn figure(&self, row: &str) -> Figure {
        let kernel = median(self.kernel.clone()).as_secs_f64();
        Figure::new(row, self.half().as_secs_f64()).with(Unit::Time.show(kernel))
    }

    fn half(&self) -> Duration {
        median(self.half.clone())
    }
}

/// Only swaps endpoints: for variants.
pub fn swaps(services: u32, kinds: Kinds) -> Result<Times> {
    let mut arena = Arena::new(services, kinds)?;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        times.round(&mut arena, Kind::Swap)?;
    }
    Ok(times)
}

/// All kinds of changes, alternating with the same kinds where there are few Services.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let mut few = Arena::new(FEW, Kinds::Plain)?;
    let mut many = Arena::new(services, Kinds::Plain)?;
    let mut times: [(Times, Times); 5] = Default::default();
    for _ in 0..ROUNDS {
        for ((of_few, of_many), kind) in times.iter_mut().zip(Kind::ALL) {
            of_few.round(&mut few, kind)?;
            of_many.round(&mut many, kind)?;
        }
    }
    let mut figures = Vec::new();
    let mut flat = Figure::new("flat", 0.0);
    for ((of_few, of_many), kind) in times.iter().zip(Kind::ALL) {
        let name = kind.name();
        figures.push(of_many.figure(name));
        let nearly_all = median(of_many.nearly_all.clone());
        figures.push(Figure::new(format!("{name}-99"), nearly_all.as_secs_f64()));
        let ratio = of_many.half().as_secs_f64() / of_few.half().as_secs_f64();
        if ratio > flat.value {
            flat = Figure::new("flat", ratio).with(name);
        }
    }
    if services > FEW {
        figures.push(flat);
    }
    Ok(figures)
}
