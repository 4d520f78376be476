//! Results as Markdown.

use portolan_integration::markdown::{line, megabytes, ratio, rule, seconds, strs, thousands};

use super::{
    results::{Changes, Charged, Fleet, Results, Row},
    variant::Variant,
};

/// The baseline of ratios: the first of these that was measured.
const BEFORE: [&str; 2] = ["HTTP/1.1, JSON", "HTTP/2, JSON"];

/// A figure with a target: its name, the value, its format, and the targets with 10,000 and with 100,000 Services.
struct Target {
    what: &'static str,
    value: fn(&Results, &Row) -> Option<f64>,
    show: fn(f64) -> String,
    at: [f64; 2],
}

const TARGETS: [Target; 12] = [
    Target {
        what: "connections",
        value: |_, row| Some(row.connections as f64),
        show: number,
        at: [1.0, 1.0],
    },
    Target {
        what: "bytes of the first list ÷ JSON",
        value: |all, row| Some(row.list_bytes as f64 / all.before(row.services)?.list_bytes as f64),
        show: ratio,
        at: [0.35, 0.35],
    },
    Target {
        what: "CPU of the first list ÷ JSON",
        value: |all, row| Some(row.list_cpu_seconds / all.before(row.services)?.list_cpu_seconds),
        show: ratio,
        at: [0.5, 0.5],
    },
    Target {
        what: "from the connection to all committed",
        value: |_, row| Some(row.committed_seconds),
        show: seconds,
        at: [0.4, 4.0],
    },
    Target {
        what: "memory charged at most ÷ afterwards",
        value: |_, row| row.charged.map(Charged::ratio),
        show: ratio,
        at: [1.15, 1.15],
    },
    Target {
        what: "the same of a restart after a slice changed",
        value: |_, row| row.restart_charged.map(Charged::ratio),
        show: ratio,
        at: [1.15, 1.15],
    },
    Target {
        what: "resident memory at most ÷ afterwards",
        value: |_, row| Some(row.most_memory_kib as f64 / row.memory_kib as f64),
        show: ratio,
        at: [1.15, 1.15],
    },
    Target {
        what: "resident memory",
        value: |_, row| Some(row.memory_kib as f64 * 1024.0),
        show: megabytes,
        at: [28e6, 180e6],
    },
    Target {
        what: "a changed slice: event to kernel, p50",
        value: |_, row| row.change(|it| it.median_seconds),
        show: seconds,
        at: [0.4e-3, 0.5e-3],
    },
    Target {
        what: "p99",
        value: |_, row| row.change(|it| it.percentile_99_seconds),
        show: seconds,
        at: [1e-3, 1.5e-3],
    },
    Target {
        what: "a slice of a Service with 100 slices: p50",
        value: |_, row| row.large.as_ref().map(|it| it.median_seconds),
        show: seconds,
        at: [0.4e-3, 0.5e-3],
    },
    Target {
        what: "p99",
        value: |_, row| row.large.as_ref().map(|it| it.percentile_99_seconds),
        show: seconds,
        at: [1e-3, 1.5e-3],
    },
];

impl Charged {
    fn ratio(self) -> f64 {
        self.most_bytes as f64 / self.bytes as f64
    }
}

impl Row {
    fn change(&self, value: impl Fn(&Changes) -> f64) -> Option<f64> {
        self.changes.as_ref().map(value)
    }
}

impl Results {
    /// The tables.
    pub fn markdown(&self) -> String {
        let server = if self.is_real { "A real API server." } else { "The test API server." };
        let mut text = format!("{} {server}\n\n", self.machine);
        self.targets(&mut text);
        self.starts(&mut text);
        self.changes(&mut text);
        self.fleets(&mut text);
        text
    }

    fn before(&self, services: u32) -> Option<&Row> {
        BEFORE.iter().find_map(|variant| self.row(services, variant))
    }

    fn targets(&self, text: &mut String) {
        let sizes = self.sizes();
        let heads: Vec<String> = sizes.iter().map(|size| thousands(*size)).collect();
        line(text, &[&["one agent, HTTP/2 and protobuf"][..], &strs(&heads), &["target"]].concat());
        rule(text, sizes.len() + 2);
        for Target { what, value, show, at } in TARGETS {
            let cell = |size: &u32| {
                let row = self.row(*size, Variant::default().name())?;
                let value = value(self, row)?;
                let target = match size {
                    10_000 => Some(at[0]),
                    100_000 => Some(at[1]),
                    _ => None,
                };
                let judged = match target {
                    None => "",
                    Some(target) if value <= target => ", met",
                    Some(_) => ", **missed**",
                };
                Some(show(value) + judged)
            };
            let cells: Vec<String> =
                sizes.iter().map(|size| cell(size).unwrap_or_else(|| "–".to_owned())).collect();
            let [small, large] = at.map(show);
            let target = if small == large { small } else { format!("{small} / {large}") };
            let target = format!("≤ {target}");
            line(text, &[&[what][..], &strs(&cells), &[&target]].concat());
        }
    }

    fn starts(&self, text: &mut String) {
        text.push_str(
            "\nThe start of one agent, on a node without rules. Times are the best of three starts.\n\n",
        );
        line(
            text,
            &[
                "Services",
                "protocol, encoding",
                "connections",
                "requests",
                "received",
                "÷ JSON",
                "CPU of reading",
                "÷ JSON",
                "last byte to first commit",
                "connection to all committed",
                "resident",
                "at most",
                "charged",
                "at most",
                "restart: resident",
                "at most",
                "charged",
                "at most",
            ],
        );
        rule(text, 18);
        for row in &self.rows {
            let before = self.before(row.services);
            let divided =
                |value: f64, by: Option<f64>| by.map_or_else(|| "–".to_owned(), |by| ratio(value / by));
            let memory = |kibibytes: Option<u64>| {
                kibibytes.map_or_else(|| "–".to_owned(), |kibibytes| megabytes(kibibytes as f64 * 1024.0))
            };
            let charged = |charged: Option<Charged>, bytes: fn(Charged) -> u64| {
                charged.map_or_else(|| "–".to_owned(), |it| megabytes(bytes(it) as f64))
            };
            let cells = [
                thousands(row.services),
                row.variant.clone(),
                row.connections.to_string(),
                row.requests.to_string(),
                megabytes(row.list_bytes as f64),
                divided(row.list_bytes as f64, before.map(|before| before.list_bytes as f64)),
                seconds(row.list_cpu_seconds),
                divided(row.list_cpu_seconds, before.map(|before| before.list_cpu_seconds)),
                seconds(row.first_commit_seconds),
                seconds(row.committed_seconds),
                memory(Some(row.memory_kib)),
                memory(Some(row.most_memory_kib)),
                charged(row.charged, |it| it.bytes),
                charged(row.charged, |it| it.most_bytes),
                memory(row.restart_memory_kib),
                memory(row.most_restart_memory_kib),
                charged(row.restart_charged, |it| it.bytes),
                charged(row.restart_charged, |it| it.most_bytes),
            ];
            line(text, &strs(&cells));
        }
    }

    fn changes(&self, text: &mut String) {
        text.push_str(
            "\nA changed slice: one of five endpoints is another one; of a Service with 100 slices, one of 100. p50 and p99 \
             are the best of five rounds, in which the processors are kept awake. Asleep: where they sleep between \
             changes.\n\n",
        );
        line(
            text,
            &[
                "Services",
                "protocol, encoding",
                "received",
                "CPU",
                "event to kernel, p50",
                "p99",
                "p50, asleep",
                "100 slices: received",
                "CPU",
                "p50",
                "p99",
                "p50, asleep",
            ],
        );
        rule(text, 12);
        for row in &self.rows {
            let of = |changes: &Option<Changes>| {
                changes.as_ref().map_or_else(
                    || ["–"; 5].map(str::to_owned),
                    |it| {
                        [
                            format!("{:.0} B", it.bytes),
                            seconds(it.cpu_seconds),
                            seconds(it.median_seconds),
                            seconds(it.percentile_99_seconds),
                            seconds(it.idle_median_seconds),
                        ]
                    },
                )
            };
            let head = [thousands(row.services), row.variant.clone()];
            line(text, &strs(&[&head[..], &of(&row.changes), &of(&row.large)].concat()));
        }
    }

    fn fleets(&self, text: &mut String) {
        if self.fleets.is_empty() {
            return;
        }
        text.push_str("\nMany agents that start at once on this machine; CPU of the server and bytes are for each of them.\n\n");
        line(
            text,
            &[
                "Services",
                "agents",
                "connections",
                "until all are in sync",
                "CPU of the server",
                "sent",
                "a changed slice: CPU",
                "sent",
            ],
        );
        rule(text, 8);
        for fleet in &self.fleets {
            let Fleet { services, agents, connections, .. } = fleet;
            let cells = [
                thousands(*services),
                agents.to_string(),
                connections.to_string(),
                seconds(fleet.list_seconds),
                seconds(fleet.list_cpu_seconds),
                megabytes(fleet.list_bytes),
                seconds(fleet.change_cpu_seconds),
                format!("{:.0} B", fleet.change_bytes),
            ];
            line(text, &strs(&cells));
        }
    }
}

fn number(value: f64) -> String {
    format!("{value:.0}")
}
