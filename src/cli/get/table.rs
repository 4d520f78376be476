//! Tables as kubectl writes them: columns of equal width, three blanks apart.

use std::{fmt::Write as _, time::Duration};

use super::rows::{EndpointRow, PortRow, Ratio, ServiceRow};
use crate::cli::arguments::{GetArgs, GetOutput};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Services.
    Services,
    /// Endpoints.
    Endpoints,
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is about.
    pub key: Vec<String>,
    pub cells: Vec<String>,
    /// Which cell is the number of connections.
    connections: usize,
}

impl Line {
    /// How many connections a second there were since these cells, so long ago.
    pub fn rate(&self, before: &[String], elapsed: Duration) -> Option<f64> {
        let number = |cells: &[String]| cells.get(self.connections)?.parse::<u64>().ok();
        Some(per_second(number(&self.cells)?.saturating_sub(number(before)?), elapsed))
    }
}

/// So many in this time, in a second.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// A number a second for people.
pub fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 0.05 => "0".to_owned(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// `service/NAME` on each line; endpoints by address.
pub fn names(listed: Listed, rows: &[ServiceRow]) -> String {
    let (kind, mut names): (_, Vec<&str>) = match listed {
        Listed::Services => ("service", rows.iter().map(|row| &*row.name).collect()),
        Listed::Endpoints => ("endpoint", endpoints(rows).map(|(_, _, e)| &*e.address).collect()),
    };
    if listed == Listed::Endpoints {
        names.sort_unstable();
        names.dedup();
    }
    names.iter().flat_map(|name| [kind, "/", name, "\n"]).collect()
}

fn endpoints(rows: &[ServiceRow]) -> impl Iterator<Item = (&ServiceRow, &PortRow, &EndpointRow)> {
    rows.iter()
        .flat_map(|row| row.ports.iter().map(move |port| (row, port)))
        .flat_map(|(row, port)| port.endpoints.iter().map(move |endpoint| (row, port, endpoint)))
}

/// The whole table.
pub fn table(args: &GetArgs, listed: Listed, rows: &[ServiceRow]) -> String {
    let lines: Vec<Vec<String>> = lines(args, listed, rows).into_iter().map(|line| line.cells).collect();
    let heads = (!args.no_headers).then(|| heads(args, listed));
    align(&heads.into_iter().chain(lines).collect::<Vec<_>>())
}

/// Lines that changed, with connections a second, and those that are gone.
pub fn watched(
    args: &GetArgs,
    listed: Listed,
    changed: &[(Line, Option<f64>)],
    gone: &[&Vec<String>],
    is_first: bool,
) -> String {
    let mut lines = Vec::new();
    if is_first && !args.no_headers {
        let mut heads = heads(args, listed);
        heads.push("PER-SECOND".to_owned());
        lines.push(heads);
    }
    for (line, a_second) in changed {
        let mut cells = line.cells.clone();
        cells.push(rate(*a_second));
        lines.push(cells);
    }
    let mut text = align(&lines);
    for key in gone {
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{} is gone", key.join(" "));
    }
    text
}

fn heads(args: &GetArgs, listed: Listed) -> Vec<String> {
    let is_wide = args.output == Some(GetOutput::Wide);
    let mut heads = Vec::new();
    if args.all_namespaces {
        heads.push("NAMESPACE");
    }
    match listed {
        Listed::Services => {
            heads.extend(["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "ENDPOINTS", "STATE"]);
            heads.push("CONNECTIONS");
            if is_wide {
                heads.extend(["INTERNAL", "EXTERNAL", "AFFINITY", "BALANCING", "MESSAGE"]);
            }
        }
        Listed::Endpoints => {
            heads.extend(["SERVICE", "PORT", "ENDPOINT", "NODE", "SHARE", "STATE", "CONNECTIONS"]);
            if is_wide {
                heads.extend(["POD", "WEIGHT", "MESSAGE"]);
            }
        }
    }
    heads.into_iter().map(str::to_owned).collect()
}

/// The lines, without heads.
pub fn lines(args: &GetArgs, listed: Listed, rows: &[ServiceRow]) -> Vec<Line> {
    match listed {
        Listed::Services => rows.iter().map(|row| service(args, row)).collect(),
        Listed::Endpoints => endpoints(rows).map(|parts| endpoint(args, parts)).collect(),
    }
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "<none>".to_owned() } else { list.join(",") }
}

fn number(connections: Option<u64>) -> String {
    connections.map_or_else(|| "-".to_owned(), |connections| connections.to_string())
}

/// As kubectl writes them: `80:30080/TCP`.
fn ports(row: &ServiceRow) -> String {
    let mut all: Vec<String> = Vec::new();
    for port in &row.ports {
        let node_port = port.node_port.map(|number| format!(":{number}")).unwrap_or_default();
        let text = format!("{}{node_port}/{}", port.port, port.protocol);
        if !all.contains(&text) {
            all.push(text);
        }
    }
    or_none(&all)
}

fn service(args: &GetArgs, row: &ServiceRow) -> Line {
    let mut key = Vec::new();
    let mut cells = Vec::new();
    if args.all_namespaces {
        cells.push(row.namespace.clone());
    }
    key.extend([row.namespace.clone(), row.name.clone()]);
    let Ratio { used, all } = row.endpoints;
    cells.extend([
        row.name.clone(),
        row.r#type.to_owned(),
        or_none(&row.cluster_ips),
        or_none(&row.external_addresses),
        ports(row),
        format!("{used}/{all}"),
        row.state.name().to_owned(),
        number(row.connections),
    ]);
    let connections = cells.len() - 1;
    if args.output == Some(GetOutput::Wide) {
        let affinity = row.session_affinity_seconds.map(|seconds| format!("{seconds}s"));
        cells.extend([
            row.internal_traffic_policy.to_owned(),
            row.external_traffic_policy.to_owned(),
            affinity.unwrap_or_else(|| "None".to_owned()),
            row.load_balancing.to_owned(),
            row.message.clone().unwrap_or_default(),
        ]);
    }
    Line { key, cells, connections }
}

fn endpoint(args: &GetArgs, (row, port, endpoint): (&ServiceRow, &PortRow, &EndpointRow)) -> Line {
    let name = if port.name.is_empty() { port.port.to_string() } else { port.name.clone() };
    let key = vec![
        row.namespace.clone(),
        row.name.clone(),
        name.clone(),
        port.protocol.to_owned(),
        endpoint.address.clone(),
    ];
    let mut cells = Vec::new();
    if args.all_namespaces {
        cells.push(row.namespace.clone());
    }
    let state = endpoint.left_out.as_ref().map_or("used", |cause| cause.code);
    cells.extend([
        row.name.clone(),
        format!("{name}/{}", port.protocol),
        endpoint.address.clone(),
        endpoint.node.clone().unwrap_or_else(|| "<unknown>".to_owned()),
        endpoint.share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0)),
        state.to_owned(),
        number(endpoint.connections),
    ]);
    let connections = cells.len() - 1;
    if args.output == Some(GetOutput::Wide) {
        cells.extend([
            endpoint.pod.clone().unwrap_or_else(|| "<unknown>".to_owned()),
            endpoint.weight.to_string(),
            endpoint.left_out.as_ref().map(|cause| cause.message.clone()).unwrap_or_default(),
        ]);
    }
    Line { key, cells, connections }
}

/// Columns of equal width; the last ends with its text.
pub fn align<C: AsRef<str>>(lines: &[Vec<C>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.len()), 0);
        for (cell, known) in line.iter().zip(&mut widths) {
            *known = width(cell.as_ref()).max(*known);
        }
    }
    let mut text = String::with_capacity(lines.len() * widths.iter().map(|width| width + GAP).sum::<usize>());
    for line in lines {
        // Blanks are written only before text.
        let mut blanks = 0;
        for (cell, widest) in line.iter().zip(&widths) {
            let cell = cell.as_ref();
            if !cell.is_empty() {
                text.extend(std::iter::repeat_n(' ', blanks));
                text.push_str(cell);
                blanks = 0;
            }
            blanks += widest - width(cell) + GAP;
        }
        text.push('\n');
    }
    text
}

/// Blanks between columns.
const GAP: usize = 3;

fn width(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_one_width_and_no_blanks_at_the_end() {
        let line = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let text = align(&[line(&["NAME", "AGE"]), line(&["a", "1"]), line(&["longer", ""])]);
        assert_eq!(text, "NAME     AGE\na        1\nlonger\n");
        assert_eq!(align::<String>(&[]), "");
    }

    #[test]
    fn a_rate_is_the_difference_of_the_connections_by_the_time_between() {
        let line = |count: &str| Line {
            key: Vec::new(),
            cells: vec!["web".to_owned(), count.to_owned()],
            connections: 1,
        };
        let since = |before: &str, now: &str, seconds| {
            rate(line(now).rate(&line(before).cells, Duration::from_secs(seconds)))
        };
        assert_eq!(since("3", "7", 1), "4.0");
        assert_eq!(since("3", "7", 8), "0.5");
        assert_eq!(since("0", "1000", 10), "100");
        assert_eq!(since("-", "7", 1), "-");
        assert_eq!(since("3", "1", 1), "0", "the agent began anew");
    }
}
