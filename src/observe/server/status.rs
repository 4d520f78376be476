//! `/statusz`: an overview for people.

use std::{
    fmt::{self, Display, Write},
    time::Duration,
};

use portolan_rules::{picture::count, plane::SetName, ruleset::Family};

use super::shared::Shared;
use crate::{
    kernel::nftables::Features,
    observe::{health::Report, metrics::Notes, report::Reconcile},
};

/// The page, as plain text. Not for machines: it may change at any time.
pub fn page(shared: &Shared) -> String {
    let page = Page {
        node_name: &shared.settings.node_name,
        features: &shared.settings.features,
        up: shared.started.elapsed(),
        report: shared.health.report(),
        notes: shared.metrics.notes(),
    };
    page.to_string()
}

struct Page<'a> {
    node_name: &'a str,
    features: &'a Features,
    up: Duration,
    report: Report,
    notes: Notes,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node_name, features, up, report, notes } = self;
        writeln!(f, "portolan statusz")?;
        writeln!(f, "For people. The format may change at any time.\n")?;
        let mut line = |name: &str, value: &dyn Display| writeln!(f, "{name:<16}{value}");
        line("Version", &env!("CARGO_PKG_VERSION"))?;
        line("Node", node_name)?;
        line("Kernel", &features.release)?;
        line("Kernel features", features)?;
        line("Up", &span(*up))?;
        line("Now", &report.now)?;
        line("Healthy", &yes(report.healthy))?;
        line("Node eligible", &yes(report.node_eligible))?;
        line("Ready", &yes(report.is_ready()))?;
        for reason in report.unready_reasons() {
            line("", &reason)?;
        }
        self.reconciles(f)?;
        self.sources(f)?;
        if let Some((_, reconcile)) = &notes.last_success {
            programmed(f, notes, reconcile)?;
        }
        self.problems(f)
    }
}

impl Page<'_> {
    fn reconciles(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nReconciles")?;
        match &self.notes.last_success {
            None => writeln!(f, "  none has succeeded yet")?,
            Some((at, last)) => {
                let ago = self.ago(*at);
                let operations: usize = last.operations.iter().sum();
                let (took, kernel) = (last.duration, last.kernel);
                writeln!(f, "  last success   {at} ({ago} ago)")?;
                writeln!(
                    f,
                    "                 {}, {} bytes, {took:.1?}, of it {kernel:.1?} in the kernel",
                    count(operations, "operation", "operations"),
                    last.bytes
                )?;
            }
        }
        if let Some(at) = self.notes.last_failure {
            writeln!(f, "  last failure   {at} ({} ago)", self.ago(at))?;
        }
        match self.report.waiting {
            Some(waiting) => writeln!(f, "  waiting        a change, for {}", span(waiting)),
            None => writeln!(f, "  waiting        nothing"),
        }
    }

    fn sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.report.ages.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nLast news")?;
        for (kind, age) in &self.report.ages {
            let age = age.map_or_else(|| "never".to_owned(), |age| format!("{} ago", span(age)));
            writeln!(f, "  {:<15}{age}", kind.name())?;
        }
        Ok(())
    }

    fn problems(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.notes.quarantined.is_empty() {
            writeln!(f, "\nServices that the kernel refuses")?;
            for name in &self.notes.quarantined {
                writeln!(f, "  {name}")?;
            }
        }
        if !self.notes.problems.is_empty() {
            writeln!(f, "\nLast problems with Services, solved or not")?;
            for (at, problem) in &self.notes.problems {
                writeln!(f, "  {at} {problem}")?;
            }
        }
        Ok(())
    }

    fn ago(&self, at: jiff::Timestamp) -> String {
        span(self.report.now.duration_since(at).unsigned_abs())
    }
}

fn programmed(f: &mut fmt::Formatter<'_>, notes: &Notes, reconcile: &Reconcile) -> fmt::Result {
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

/// Days, hours, minutes and seconds, from the first that is not zero.
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
