//! Figures of the rounds, as Markdown and JSON.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::connect::Round;

/// What the ratios are to.
const FLOOR: &str = "floor";

/// Figures of each ruleset.
pub struct Report(Vec<Row>);

struct Row {
    name: String,
    p01: Quantile,
    p50: Quantile,
}

/// One quantile over the rounds, in microseconds.
struct Quantile {
    best: f64,
    median: f64,
    /// Median of the ratio to the floor in the same round.
    to_floor: Option<f64>,
}

impl Report {
    /// Summarises the rounds of the rulesets of these names.
    pub fn new(names: &[String], samples: &[Vec<Round>]) -> Self {
        let floor = names.iter().position(|name| name == FLOOR).map(|i| &samples[i]);
        let row = |(name, rounds): (&String, &Vec<Round>)| Row {
            name: name.clone(),
            p01: Quantile::new(rounds, floor, 1),
            p50: Quantile::new(rounds, floor, 50),
        };
        Self(names.iter().zip(samples).map(row).collect())
    }

    /// A table, a line for each ruleset.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| ruleset | p01 ÷ floor | p50 ÷ floor | p01 best | p01 median | p50 best | p50 median |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for Row { name, p01, p50 } in &self.0 {
            let ratio = |quantile: &Quantile| {
                quantile.to_floor.map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}"))
            };
            // Writing into a `String` does not fail.
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {:.2} µs | {:.2} µs | {:.2} µs | {:.2} µs |",
                ratio(p01),
                ratio(p50),
                p01.best,
                p01.median,
                p50.best,
                p50.median
            );
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let quantile = |quantile: &Quantile| {
            json!({
                "best_us": quantile.best,
                "median_us": quantile.median,
                "ratio_to_floor": quantile.to_floor,
            })
        };
        let row =
            |row: &Row| json!({ "ruleset": row.name, "p01": quantile(&row.p01), "p50": quantile(&row.p50) });
        json!({ "machine": portolan_integration::machine(), "connect": self.0.iter().map(row).collect::<Vec<_>>() })
    }
}

impl Quantile {
    fn new(rounds: &[Round], floor: Option<&Vec<Round>>, percent: usize) -> Self {
        let mut values: Vec<_> = rounds.iter().map(|round| micros(round, percent)).collect();
        let to_floor = floor.map(|floor| {
            let mut ratios: Vec<_> = values.iter().zip(floor).map(|(x, y)| x / micros(y, percent)).collect();
            median(&mut ratios)
        });
        let best = values.iter().copied().fold(f64::INFINITY, f64::min);
        Self { best, median: median(&mut values), to_floor }
    }
}

fn micros(sorted: &[Duration], percent: usize) -> f64 {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().wrapping_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => low.midpoint(*high),
        _ => f64::NAN,
    }
}
