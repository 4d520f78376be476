//! The results of virtual machines, and the table of all results.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use crate::packages::Kernel;

/// One line that a virtual machine writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The outcome of a check.
    Outcome(Outcome),
    /// Features of the kernel that Portolan does not require.
    Features(String),
    /// All checks are done.
    End,
}

/// The outcome of a check.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// What was checked: a row of the table.
    pub check: String,
    /// How many tests, or steps, passed.
    pub passed: usize,
    /// How many tests or steps there are.
    pub all: usize,
    /// What went wrong.
    pub failures: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Outcome {
    /// Whether everything passed.
    pub fn has_passed(&self) -> bool {
        self.passed == self.all && self.all > 0 && self.failures.is_empty()
    }
}

/// The results of one virtual machine.
#[derive(Debug, Default)]
pub struct Report {
    outcomes: Vec<Outcome>,
    features: String,
    is_complete: bool,
    took: Duration,
}

impl Report {
    /// Reads the lines that a virtual machine wrote.
    pub fn read(text: &str, took: Duration) -> Self {
        let mut report = Self { took, ..Self::default() };
        for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Outcome(outcome) => report.outcomes.push(outcome),
                Line::Features(features) => report.features = features,
                Line::End => report.is_complete = true,
            }
        }
        report
    }

    /// Whether the virtual machine completed its checks.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether everything passed.
    pub fn has_passed(&self) -> bool {
        self.is_complete && !self.outcomes.is_empty() && self.outcomes.iter().all(Outcome::has_passed)
    }

    /// Prints to standard error how long each check took and what failed.
    pub fn explain(&self) {
        for outcome in &self.outcomes {
            let Outcome { check, passed, all, failures, seconds } = outcome;
            eprintln!("  {check}: {passed} of {all}, {seconds:.0} s");
            for failure in failures {
                eprintln!("    {}", failure.replace('\n', "\n    "));
            }
        }
    }
}

/// The table of all kernels, in Markdown.
pub fn table(reports: &[(&Kernel, Report)]) -> String {
    let mut table = String::new();
    let mut row = |name: &str, cells: Vec<String>| {
        // Writing to a String does not fail.
        let _ = writeln!(table, "| {name} | {} |", cells.join(" | "));
    };
    let of_each = |cell: &dyn Fn(&Kernel, &Report) -> String| -> Vec<String> {
        reports.iter().map(|(kernel, report)| cell(kernel, report)).collect()
    };
    row("", of_each(&|kernel, _| format!("Linux {}", kernel.version)));
    row("---", of_each(&|_, _| "---".to_owned()));
    let names = reports.iter().map(|(_, report)| &report.outcomes).max_by_key(|outcomes| outcomes.len());
    for outcome in names.into_iter().flatten() {
        let name = &outcome.check;
        row(
            name,
            of_each(&|_, report| {
                let found = report.outcomes.iter().find(|outcome| outcome.check == *name);
                found.map_or_else(|| "–".to_owned(), cell)
            }),
        );
    }
    row(
        "came to its end",
        of_each(&|_, report| if report.is_complete { "yes" } else { "**no**" }.to_owned()),
    );
    row("beyond what is needed it has", of_each(&|_, report| report.features.clone()));
    row("took, emulated", of_each(&|_, report| format!("{} min", report.took.as_secs().div_ceil(60))));
    table
}

fn cell(outcome: &Outcome) -> String {
    let Outcome { passed, all, .. } = outcome;
    if outcome.has_passed() { format!("ok ({all})") } else { format!("**{passed} of {all}**") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Kernel {
        Kernel {
            version: "6.1.192".into(),
            package: "linux-image-6.1.0-56-cloud-amd64".into(),
            root: "/".into(),
        }
    }

    fn written(lines: &[Line]) -> String {
        lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect()
    }

    fn outcome(passed: usize, all: usize) -> Line {
        let failures = if passed < all { vec!["it does not".to_owned()] } else { Vec::new() };
        Line::Outcome(Outcome { check: "it works".into(), passed, all, failures, seconds: 1.0 })
    }

    #[test]
    fn what_was_written_becomes_a_column() {
        let text = written(&[Line::Features("owned-tables".into()), outcome(3, 3), Line::End]);
        let report = Report::read(&text, Duration::from_secs(61));
        assert!(report.has_passed());
        assert_eq!(
            table(&[(&kernel(), report)]),
            "|  | Linux 6.1.192 |\n| --- | --- |\n| it works | ok (3) |\n\
             | came to its end | yes |\n| beyond what is needed it has | owned-tables |\n| took, emulated | 2 min |\n"
        );
    }

    #[test]
    fn what_failed_or_is_not_there_has_not_passed() {
        let read = |lines: &[Line]| Report::read(&written(lines), Duration::ZERO);
        let report = read(&[outcome(2, 3), Line::End]);
        assert!(!report.has_passed());
        assert!(table(&[(&kernel(), report)]).contains("| it works | **2 of 3** |"));
        assert!(!read(&[outcome(3, 3)]).has_passed(), "it broke off");
        assert!(!read(&[Line::End]).has_passed(), "nothing was checked");
        assert!(!read(&[outcome(0, 0), Line::End]).has_passed(), "no test was found");
    }
}
