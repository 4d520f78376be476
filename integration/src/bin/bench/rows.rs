//! The rows of the table: the measured values and their targets.

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The key by which figures name the row.
    pub key: &'static str,
    /// What is measured; parentheses describe the parentheses in the row's cells.
    pub what: &'static str,
    /// The unit of the values.
    pub unit: Unit,
    /// The greatest value that meets the target: with up to 1,000 Services, up to 10,000, and more.
    pub target: [Option<f64>; 3],
}

impl Row {
    /// The target for this number of Services.
    pub const fn target(&self, services: u32) -> Option<f64> {
        match services {
            0..=1_000 => self.target[0],
            1_001..=10_000 => self.target[1],
            _ => self.target[2],
        }
    }
}

/// The unit of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// One value divided by another.
    Ratio,
    /// Seconds.
    Time,
    /// Fraction of one core's time.
    Core,
    /// Bytes.
    Bytes,
    /// A number of things.
    Count,
}

impl Unit {
    /// A value for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{value:.2}"),
            Self::Time if value < 1e-3 => format!("{:.0} µs", value * 1e6),
            Self::Time if value < 0.01 => format!("{:.1} ms", value * 1e3),
            Self::Time if value < 1.0 => format!("{:.0} ms", value * 1e3),
            Self::Time => format!("{value:.1} s"),
            Self::Core => format!("{:.1} %", value * 100.0),
            Self::Bytes if value < 1e6 => format!("{value:.0} B"),
            Self::Bytes => format!("{:.1} MB", value / 1e6),
            Self::Count => format!("{value:.0}"),
        }
    }
}

const fn everywhere(target: f64) -> [Option<f64>; 3] {
    [Some(target); 3]
}

const fn from_ten_thousand(at_ten_thousand: f64, above: f64) -> [Option<f64>; 3] {
    [None, Some(at_ten_thousand), Some(above)]
}

const NO_TARGET: [Option<f64>; 3] = [None; 3];

const fn row(key: &'static str, what: &'static str, unit: Unit, target: [Option<f64>; 3]) -> Row {
    Row { key, what, unit, target }
}

const fn half_a_millisecond(key: &'static str, what: &'static str) -> Row {
    row(key, what, Unit::Time, everywhere(5e-4))
}

const fn sixty_microseconds(key: &'static str, what: &'static str) -> Row {
    row(key, what, Unit::Time, everywhere(6e-5))
}

/// A command that queries the agent, up to 10,000 Services.
const fn live(key: &'static str, what: &'static str, target: f64) -> Row {
    row(key, what, Unit::Time, [Some(target), Some(target), None])
}

const fn one_and_a_half(key: &'static str, what: &'static str) -> Row {
    row(key, what, Unit::Ratio, everywhere(1.5))
}

/// All rows, in order.
pub const ROWS: &[Row] = &[
    one_and_a_half(
        "cold",
        "cold start: state in memory → committed, ÷ the kernel's own time for the same as one batch",
    ),
    row("cold-cpu", "the same in the processor's time, of both threads", Unit::Ratio, NO_TARGET),
    row(
        "longest",
        "longest single hold of the netlink mutex meanwhile (transactions)",
        Unit::Time,
        everywhere(0.02),
    ),
    row("nft", "cold start ÷ `nft -f` of the same rules", Unit::Ratio, everywhere(0.25)),
    row(
        "yaml",
        "`run --once` of 100 YAML files: start → committed and ended (reading the files alone)",
        Unit::Time,
        from_ten_thousand(1.5, 5.0),
    ),
    row("json", "the same of JSON files", Unit::Time, from_ten_thousand(1.5, 5.0)),
    sixty_microseconds("swap", "one endpoint swapped: event → committed, p50 (kernel alone)"),
    half_a_millisecond("swap-99", "p99 of that"),
    sixty_microseconds(
        "add",
        "one added, to a number of endpoints that no other Service has: p50 (kernel alone)",
    ),
    half_a_millisecond("add-99", "p99 of that"),
    sixty_microseconds("remove", "one removed, likewise: p50 (kernel alone)"),
    half_a_millisecond("remove-99", "p99 of that"),
    sixty_microseconds("create", "one Service with 5 endpoints created: p50 (kernel alone)"),
    half_a_millisecond("create-99", "p99 of that"),
    sixty_microseconds("delete", "one Service deleted: p50 (kernel alone)"),
    half_a_millisecond("delete-99", "p99 of that"),
    row(
        "flat",
        "p50 ÷ p50 at 1,000 Services, measured in turns: the worst of the five",
        Unit::Ratio,
        everywhere(1.3),
    ),
    row(
        "rolling",
        "rolling update of a 500-endpoint Service: CPU time of its 1,000 changes ÷ 60 s",
        Unit::Core,
        from_ten_thousand(0.02, 0.02),
    ),
    row("churn", "churn, 1,000 changes a second: CPU", Unit::Core, from_ten_thousand(0.25, 0.25)),
    row(
        "lag",
        "changes that wait 10 ms after the last (longest wait of one)",
        Unit::Count,
        from_ten_thousand(0.0, 0.0),
    ),
    row("restart", "restart with equal state: time", Unit::Time, from_ten_thousand(0.4, 4.0)),
    row("rewritten", "operations that it commits", Unit::Count, everywhere(0.0)),
    row(
        "restart-changed",
        "restart while a hundredth of the Services has gone and as many have come: until all is committed",
        Unit::Time,
        from_ten_thousand(0.4, 3.0),
    ),
    row(
        "restart-changed-uncounted",
        "the same on a kernel that does not say how many elements sets have (before 6.16)",
        Unit::Time,
        from_ten_thousand(0.4, 3.0),
    ),
    row(
        "repair",
        "one element deleted, overwritten or added by `nft`: until it is repaired, the worst of these (each)",
        Unit::Time,
        everywhere(0.2),
    ),
    row("comparison", "the hourly comparison where every commit was heard of", Unit::Time, everywhere(1.0)),
    row(
        "comparison-read",
        "the same where that is not known: everything is compared, in parts (p99 of what a change waits for)",
        Unit::Time,
        NO_TARGET,
    ),
    row(
        "neighbour",
        "one endpoint swapped while a neighbour loads 200,000 elements again and again: p99 (a commit of one table \
         alone, likewise)",
        Unit::Time,
        NO_TARGET,
    ),
    row(
        "resident-run",
        "resident memory of `portolan run` that watches the YAML files (once one of the 100 was taken away and has come back)",
        Unit::Bytes,
        [Some(12e6), Some(32e6), Some(200e6)],
    ),
    row(
        "resident",
        "of that, what it holds to reconcile, after the cold start and 500 changes, in a process with nothing else",
        Unit::Bytes,
        NO_TARGET,
    ),
    row(
        "kernel-memory",
        "kernel memory per element (elements)",
        Unit::Bytes,
        from_ten_thousand(130.0, 130.0),
    ),
    one_and_a_half("dual-stack", "dual-stack: cold start ÷ kernel"),
    sixty_microseconds("dual-stack-swap", "a pod swapped, in both families: p50 (kernel alone)"),
    one_and_a_half("mixed", "a tenth with affinity, source ranges or policy Local: cold start ÷ kernel"),
    sixty_microseconds("mixed-swap", "one endpoint of any swapped: p50 (kernel alone)"),
    one_and_a_half("large", "one Service with 10,000 endpoints: cold start ÷ kernel"),
    sixty_microseconds("large-swap", "one of its endpoints swapped: p50 (kernel alone)"),
    one_and_a_half("node-ports", "up to 5,000 node ports: cold start ÷ kernel"),
    sixty_microseconds("node-ports-swap", "one endpoint of these swapped: p50 (kernel alone)"),
    row(
        "worst",
        "up to 2,000 Services that ask for what they can (as many timeouts, policies, weights, hash tables, 4,000 ports): cold start ÷ as many plain ones with as many slots",
        Unit::Ratio,
        everywhere(2.0),
    ),
    row("worst-longest", "longest single hold of the netlink mutex meanwhile", Unit::Time, NO_TARGET),
    row(
        "worst-class",
        "one endpoint added beside these, to a number that no other Service has: p50 (kernel alone)",
        Unit::Time,
        NO_TARGET,
    ),
    live("live-get-name", "`get services NAME` of a running agent: start → printed and ended (printed)", 0.1),
    live("live-get", "`get services -A`", 0.1),
    live("live-endpoints", "`get endpoints -A`", 0.1),
    live("live-json", "`get services -A -o json`", 0.1),
    live("live-describe", "`describe service NAME`", 0.1),
    live("live-trace", "`trace outside svc/NAME`", 0.1),
    live("live-check", "`check`", 0.1),
    live("live-draw", "`draw NAME -o svg`", 0.1),
    live("live-bundle", "`support-bundle`, an archive of all of it", 1.0),
    live("live-page", "the slowest page of the agent (the longest)", 0.1),
    live("live-flows", "`flows`, with 100,000 tracked connections", 0.5),
    live("live-flows-count", "`flows --count`, likewise", 0.5),
    live("live-flows-name", "`flows NAME`, likewise", 0.5),
];
