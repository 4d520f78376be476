//! `/statusz`: an overview for people.

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use jiff::Timestamp;
use portolan_rules::{picture::count, plane::SetName, ruleset::Family};

use super::shared::Shared;
use crate::observe::{health::Report, metrics::Notes, report::Reconcile};

/// The page, as plain text. Not meant for parsing: the format may change at any time.
pub fn page(shared: &Shared) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write_page(&mut text, shared);
    text
}

fn write_page(f: &mut String, shared: &Shared) -> fmt::Result {
    let (report, notes) = (shared.health.report(), shared.metrics.notes());
    writeln!(f, "portolan statusz")?;
    writeln!(f, "For people. The format may change at any time.\n")?;
    let mut line = |name: &str, value: &dyn Display| writeln!(f, "{name:<16}{value}");
    line("Version", &env!("CARGO_PKG_VERSION"))?;
    line("Node", &shared.settings.node.node_name)?;
    line("Kernel", &shared.features.release)?;
    line("Kernel features", &shared.features)?;
    line("Up", &span(shared.started.elapsed()))?;
    line("Now", &report.now)?;
    line("Healthy", &yes(report.healthy))?;
    line("Node eligible", &yes(report.node_eligible))?;
    line("Ready", &yes(report.is_ready()))?;
    for reason in report.unready_reasons() {
        line("", &reason)?;
    }
    reconciles(f, &report, &notes)?;
    if !report.ages.is_empty() {
        writeln!(f, "\nLast news")?;
    }
    for (kind, age) in &report.ages {
        let age = age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age)));
        writeln!(f, "  {:<15}{age}", kind.name())?;
    }
    if let Some((_, reconcile)) = &notes.last_success {
        programmed(f, &notes, reconcile)?;
    }
    list(f, "Services that the kernel refuses", &notes.quarantined)?;
    let problems = notes.problems.iter().map(|(at, problem)| format!("{at} {problem}"));
    list(f, "Last problems with Services, solved or not", &problems.collect::<Vec<_>>())
}

fn reconciles(f: &mut String, report: &Report, notes: &Notes) -> fmt::Result {
    let ago = |at: Timestamp| span(report.now.duration_since(at).unsigned_abs());
    writeln!(f, "\nReconciles")?;
    match &notes.last_success {
        None => writeln!(f, "  none has succeeded yet")?,
        Some((at, last)) => {
            let operations: usize = last.operations.iter().sum();
            let (took, kernel) = (last.duration, last.commit.kernel);
            writeln!(f, "  last success   {at} ({} ago)", ago(*at))?;
            writeln!(
                f,
                "                 {}, {} bytes, {took:.1?}, of it {kernel:.1?} in the kernel",
                count(operations, "operation", "operations"),
                last.commit.bytes
            )?;
        }
    }
    if let Some(at) = notes.last_failure {
        writeln!(f, "  last failure   {at} ({} ago)", ago(at))?;
    }
    match report.waiting {
        Some(waiting) => writeln!(f, "  waiting        a change, for {}", span(waiting)),
        None => writeln!(f, "  waiting        nothing"),
    }
}

/// A list under a title, unless it is empty.
fn list(f: &mut String, title: &str, items: &[impl Display]) -> fmt::Result {
    if !items.is_empty() {
        writeln!(f, "\n{title}")?;
    }
    items.iter().try_for_each(|item| writeln!(f, "  {item}"))
}

fn programmed(f: &mut String, notes: &Notes, reconcile: &Reconcile) -> fmt::Result {
    writeln!(f, "\nProgrammed")?;
    writeln!(f, "  {:<22}{:>8}", "Services", notes.services)?;
    writeln!(f, "  {:<22}{:>8}{:>8}", "", "IPv4", "IPv6")?;
    let [v4, v6] = reconcile.classes;
    writeln!(f, "  {:<22}{v4:>8}{v6:>8}", "classes")?;
    for set in SetName::ALL {
        let of = |family: Family| {
            let found = reconcile.sets.iter().find(|size| size.family == family && size.set == set);
            found.map(|size| size.elements)
        };
        if let (Some(v4), Some(v6)) = (of(Family::Ip), of(Family::Ip6)) {
            writeln!(f, "  {:<22}{v4:>8}{v6:>8}", set.name())?;
        }
    }
    Ok(())
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Days, hours, minutes and seconds, starting with the first unit that is not zero.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60)];
    let mut text = String::new();
    for (unit, number) in parts.into_iter().skip_while(|(_, number)| *number == 0) {
        // Writing to a String does not fail.
        let _ = write!(text, "{number}{unit} ");
    }
    let _ = write!(text, "{}s", seconds % 60);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_start_with_what_is_not_zero() {
        assert_eq!(span(Duration::ZERO), "0s");
        assert_eq!(span(Duration::from_secs(61)), "1m 1s");
        assert_eq!(span(Duration::from_hours(25)), "1d 1h 0m 0s");
    }
}
