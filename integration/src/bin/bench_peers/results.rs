//! The measured results, as stored and as reported.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// The results of one run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Results {
    /// The machine of the run.
    pub machine: String,
    /// A row for each size and system.
    pub rows: Vec<Row>,
}

/// One system at one size.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The number of Services.
    pub services: u32,
    /// The system that programs the Services.
    pub system: System,
    /// The cost.
    pub cost: Cost,
}

/// A way to turn Services into rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// Ours.
    Portolan,
    /// Our rules, loaded with `nft -f`.
    SameRules,
    /// kube-proxy 1.36's rules.
    ShapeB,
    /// The rules of older kube-proxy versions.
    ShapeA,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Portolan, Self::SameRules, Self::ShapeB, Self::ShapeA];
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portolan => "Portolan",
            Self::SameRules => "Portolan's rules with nft -f",
            Self::ShapeB => "kube-proxy's shape B",
            Self::ShapeA => "kube-proxy's shape A",
        })
    }
}

/// The cost of one system at one size, in seconds; figures that were not measured are absent.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// From the beginning to the kernel's acknowledgement of all rules.
    #[serde(rename = "load_seconds")]
    pub load: Option<f64>,
    /// The part of it in the kernel.
    #[serde(rename = "load_kernel_seconds")]
    pub load_kernel: Option<f64>,
    /// One endpoint swapped: the median for Portolan, the fastest tenth for kube-proxy.
    #[serde(rename = "change_seconds")]
    pub change: Option<f64>,
    /// The part of it in the kernel.
    #[serde(rename = "change_kernel_seconds")]
    pub change_kernel: Option<f64>,
    /// The load was not run because it would take this long.
    #[serde(rename = "not_run_seconds", default, skip_serializing_if = "Option::is_none")]
    pub not_run: Option<f64>,
}

impl Results {
    /// Tables of load and change, ratios first.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        text.push_str(
            "\nCold start: from Services in memory, or from the text of the rules, to all of it in the kernel \
             (in brackets: of that, in the kernel).\n\n",
        );
        self.table(&mut text, |cost| (cost.load, cost.load_kernel));
        text.push_str(
            "\nOne endpoint swapped: from the changed slice to the kernel's acknowledgement, median; for kube-proxy its \
             `nft -f` alone, without the listing before it, and the fastest tenth.\n\n",
        );
        self.table(&mut text, |cost| (cost.change, cost.change_kernel));
        text
    }

    fn table(&self, text: &mut String, figures: impl Fn(&Cost) -> (Option<f64>, Option<f64>)) {
        let systems: Vec<_> = System::ALL
            .into_iter()
            .filter(|system| {
                self.rows.iter().any(|row| row.system == *system && figures(&row.cost).0.is_some())
            })
            .collect();
        text.push_str("| Services |");
        for system in systems.iter().skip(1) {
            let _ = write!(text, " {system} ÷ Portolan |");
        }
        for system in &systems {
            let _ = write!(text, " {system} |");
        }
        let _ = writeln!(text, "\n|{}", "---|".repeat(2 * systems.len()));
        let mut sizes: Vec<_> = self.rows.iter().map(|row| row.services).collect();
        sizes.dedup();
        for services in sizes {
            let costs: Vec<_> = systems.iter().map(|system| self.cost(*system, services)).collect();
            let ours = costs.first().and_then(|cost| figures((*cost)?).0);
            let _ = write!(text, "| {services} |");
            for cost in costs.iter().skip(1) {
                match cost.and_then(|cost| figures(cost).0).zip(ours) {
                    Some((theirs, ours)) => {
                        let ratio = theirs / ours;
                        let _ = write!(text, " {ratio:.*} |", usize::from(ratio < 10.0));
                    }
                    None => text.push_str(" – |"),
                }
            }
            for cost in costs {
                let cell = match cost.map(|cost| (figures(cost), cost.not_run)) {
                    Some(((Some(all), Some(kernel)), _)) => format!("{} ({})", time(all), time(kernel)),
                    Some((_, Some(expected))) => format!("not run: its load would take {}", time(expected)),
                    _ => "–".into(),
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
    }

    fn cost(&self, system: System, services: u32) -> Option<&Cost> {
        self.rows.iter().find(|row| row.system == system && row.services == services).map(|row| &row.cost)
    }
}

/// Formats a time in a suitable unit.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1e-2 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}
