//! The figures of the rounds, as Markdown and JSON.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{connect::Round, established::Turn};

/// The ruleset that the times of connect(2) are compared with.
const FLOOR: &str = "floor";
/// The prefix of another ruleset to compare them with: the first one whose name begins with it.
const PEER: &str = "kube-proxy-";
/// The ruleset that established connections are compared with.
const NO_RULES: &str = "none";

/// The figures of each ruleset, as reported and as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The machine of the run.
    pub machine: String,
    peer: Option<String>,
    connect: Vec<Connect>,
    established: Vec<Established>,
    #[serde(default)]
    rates: Vec<Rate>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Connect {
    ruleset: String,
    p01: Quantile,
    p50: Quantile,
}

/// One quantile over the rounds, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
struct Quantile {
    #[serde(rename = "best_us")]
    best: f64,
    #[serde(rename = "median_us")]
    median: f64,
    /// Median of the ratio to the floor in the same round.
    #[serde(rename = "ratio_to_floor")]
    to_floor: Option<f64>,
    /// The same ratio to the peer.
    #[serde(rename = "ratio_to_peer")]
    to_peer: Option<f64>,
}

/// Medians over the turns, and the medians of the ratios to no rules in the same turn.
#[derive(Debug, Serialize, Deserialize)]
struct Established {
    ruleset: String,
    bytes_per_second: f64,
    #[serde(rename = "bytes_ratio_to_none")]
    bytes_ratio: Option<f64>,
    round_trip_us: f64,
    #[serde(rename = "round_trip_ratio_to_none")]
    round_trip_ratio: Option<f64>,
}

/// The median over the turns, and the medians of the ratios in the same turn.
#[derive(Debug, Serialize, Deserialize)]
struct Rate {
    ruleset: String,
    connections_per_second: f64,
    ratio_to_floor: Option<f64>,
    ratio_to_peer: Option<f64>,
}

impl Report {
    /// Summarises the rounds, and any turns and rates, of the rulesets with these names.
    pub fn new(names: &[String], samples: &[Vec<Round>], turns: &[Vec<Turn>], rates: &[Vec<f64>]) -> Self {
        let index = |wanted| names.iter().position(|name| name == wanted);
        let floor_index = index(FLOOR);
        let floor = floor_index.and_then(|i| samples.get(i));
        let peer = names.iter().position(|name| name.starts_with(PEER));
        let peer_rounds = peer.and_then(|i| samples.get(i));
        let no_rules = index(NO_RULES).and_then(|i| turns.get(i));
        let connect = |(name, rounds): (&String, &Vec<Round>)| Connect {
            ruleset: name.clone(),
            p01: Quantile::new(rounds, floor, peer_rounds, 1),
            p50: Quantile::new(rounds, floor, peer_rounds, 50),
        };
        let rate = |(name, turns): (&String, &Vec<f64>)| {
            let to = |base: Option<usize>| {
                base.and_then(|i| rates.get(i)).map(|base| median_ratio(turns, base.iter().copied()))
            };
            Rate {
                ruleset: name.clone(),
                connections_per_second: median(turns.clone()),
                ratio_to_floor: to(floor_index),
                ratio_to_peer: to(peer),
            }
        };
        let established = |(name, turns): (&String, &Vec<Turn>)| Established::new(name, turns, no_rules);
        Self {
            machine: portolan_integration::machine(),
            peer: peer.and_then(|i| names.get(i)).cloned(),
            connect: names.iter().zip(samples).map(connect).collect(),
            established: names.iter().zip(turns).map(established).collect(),
            rates: names.iter().zip(rates).map(rate).collect(),
        }
    }

    /// A table with a line for each ruleset, for each kind of figure.
    pub fn markdown(&self) -> String {
        let peer = self.peer.as_deref().unwrap_or("peer");
        let mut text = format!(
            "| ruleset | p01 ÷ floor | p50 ÷ floor | p01 ÷ {peer} | p50 ÷ {peer} | p01 best | p01 median | p50 best | \
             p50 median |\n|{}\n",
            "---|".repeat(9)
        );
        // Writing into a `String` does not fail.
        for Connect { ruleset, p01, p50 } in &self.connect {
            let _ = writeln!(
                text,
                "| {ruleset} | {} | {} | {} | {} | {:.2} µs | {:.2} µs | {:.2} µs | {:.2} µs |",
                ratio(p01.to_floor),
                ratio(p50.to_floor),
                ratio(p01.to_peer),
                ratio(p50.to_peer),
                p01.best,
                p01.median,
                p50.best,
                p50.median
            );
        }
        self.write_rates(peer, &mut text);
        if self.established.is_empty() {
            return text;
        }
        text.push_str(
            "\nConnections that are there already, against no rules:\n\n\
             | ruleset | bulk ÷ none | round trip ÷ none | bulk | round trip of a byte |\n\
             |---|---|---|---|---|\n",
        );
        for row in &self.established {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.2} GB/s | {:.2} µs |",
                row.ruleset,
                ratio(row.bytes_ratio),
                ratio(row.round_trip_ratio),
                row.bytes_per_second / 1e9,
                row.round_trip_us
            );
        }
        text
    }
}

impl Report {
    fn write_rates(&self, peer: &str, text: &mut String) {
        if self.rates.is_empty() {
            return;
        }
        let _ = write!(
            text,
            "\nNew connections a second, a thread for each core:\n\n| ruleset | ÷ floor | ÷ {peer} | a second |\n|{}\n",
            "---|".repeat(4)
        );
        for Rate { ruleset, connections_per_second, ratio_to_floor, ratio_to_peer } in &self.rates {
            let (floor, peer) = (ratio(*ratio_to_floor), ratio(*ratio_to_peer));
            let _ = writeln!(text, "| {ruleset} | {floor} | {peer} | {connections_per_second:.0} |");
        }
    }
}

impl Quantile {
    fn new(rounds: &[Round], floor: Option<&Vec<Round>>, peer: Option<&Vec<Round>>, percent: usize) -> Self {
        let values: Vec<_> = rounds.iter().map(|round| micros(round, percent)).collect();
        let to = |base: Option<&Vec<Round>>| {
            base.map(|rounds| median_ratio(&values, rounds.iter().map(|round| micros(round, percent))))
        };
        let best = values.iter().copied().fold(f64::INFINITY, f64::min);
        Self { best, to_floor: to(floor), to_peer: to(peer), median: median(values) }
    }
}

impl Established {
    fn new(name: &str, turns: &[Turn], no_rules: Option<&Vec<Turn>>) -> Self {
        let bytes: Vec<_> = turns.iter().map(|turn| turn.bytes_per_second).collect();
        let times: Vec<_> = turns.iter().map(|turn| turn.round_trip_us).collect();
        let bytes_ratio =
            no_rules.map(|turns| median_ratio(&bytes, turns.iter().map(|turn| turn.bytes_per_second)));
        let round_trip_ratio =
            no_rules.map(|turns| median_ratio(&times, turns.iter().map(|turn| turn.round_trip_us)));
        Self {
            ruleset: name.into(),
            bytes_per_second: median(bytes),
            bytes_ratio,
            round_trip_us: median(times),
            round_trip_ratio,
        }
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}"))
}

fn micros(sorted: &[Duration], percent: usize) -> f64 {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(index).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

/// The median of the ratios of values measured at the same time.
fn median_ratio(values: &[f64], base: impl Iterator<Item = f64>) -> f64 {
    median(values.iter().zip(base).map(|(value, base)| value / base).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.get(values.len().saturating_sub(1) / 2), values.get(values.len() / 2)) {
        (Some(low), Some(high)) => low.midpoint(*high),
        _ => f64::NAN,
    }
}
