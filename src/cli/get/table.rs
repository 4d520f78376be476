//! Tables as kubectl writes them: columns of equal width, three blanks apart.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

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

/// The cells of a line, or what it is about.
pub type Cells<'a> = Vec<Cow<'a, str>>;

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// What it is about, with `--watch`.
    pub key: Cells<'a>,
    pub cells: Cells<'a>,
    /// Which cell is the number of connections.
    connections: usize,
}

impl Line<'_> {
    /// The same for later.
    pub fn into_owned(self) -> Line<'static> {
        let owned = |cells: Cells<'_>| cells.into_iter().map(|cell| Cow::Owned(cell.into_owned())).collect();
        Line { key: owned(self.key), cells: owned(self.cells), connections: self.connections }
    }

    /// How many connections a second there were since these cells, so long ago.
    pub fn rate(&self, before: &[Cow<'_, str>], elapsed: Duration) -> Option<f64> {
        let number = |cells: &[Cow<'_, str>]| cells.get(self.connections)?.parse::<u64>().ok();
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
    let lines = lines(args, listed, rows).map(|line| line.cells);
    let heads = (!args.no_headers).then(|| heads(args, listed));
    align(&heads.into_iter().chain(lines).collect::<Vec<_>>())
}

/// Lines that changed, with connections a second, and those that are gone.
pub fn watched(
    args: &GetArgs,
    listed: Listed,
    changed: &[(Line<'_>, Option<f64>)],
    gone: &[&Cells<'_>],
    is_first: bool,
) -> String {
    let mut lines = Vec::new();
    if is_first && !args.no_headers {
        let mut heads = heads(args, listed);
        heads.push("PER-SECOND".into());
        lines.push(heads);
    }
    for (line, a_second) in changed {
        let mut cells = line.cells.clone();
        cells.push(rate(*a_second).into());
        lines.push(cells);
    }
    let mut text = align(&lines);
    for key in gone {
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{} is gone", key.join(" "));
    }
    text
}

fn heads(args: &GetArgs, listed: Listed) -> Cells<'static> {
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
    heads.into_iter().map(Cow::Borrowed).collect()
}

/// The lines, without heads.
pub fn lines<'a>(
    args: &'a GetArgs,
    listed: Listed,
    rows: &'a [ServiceRow],
) -> Box<dyn Iterator<Item = Line<'a>> + 'a> {
    match listed {
        Listed::Services => Box::new(rows.iter().map(|row| service(args, row))),
        Listed::Endpoints => Box::new(endpoints(rows).map(|parts| endpoint(args, parts))),
    }
}

fn or_none(list: &[String]) -> Cow<'_, str> {
    match list {
        [] => "<none>".into(),
        [one] => one.into(),
        several => several.join(",").into(),
    }
}

/// A share with one digit, made of whole numbers: an exact decimal takes ten times as long.
#[allow(clippy::cast_sign_loss, reason = "a share is not negative")]
pub fn percentage(share: f64) -> Cow<'static, str> {
    let tenths = (share * 1000.0).round_ties_even() as u32;
    format!("{}.{}%", tenths / 10, tenths % 10).into()
}

fn number(connections: Option<u64>) -> Cow<'static, str> {
    connections.map_or("-".into(), |connections| connections.to_string().into())
}

/// As kubectl writes them: `80:30080/TCP`.
fn ports(row: &ServiceRow) -> Cow<'static, str> {
    let mut all: Vec<String> = Vec::new();
    for port in &row.ports {
        let node_port = port.node_port.map(|number| format!(":{number}")).unwrap_or_default();
        let text = format!("{}{node_port}/{}", port.port, port.protocol);
        if !all.contains(&text) {
            all.push(text);
        }
    }
    or_none(&all).into_owned().into()
}

fn service<'a>(args: &GetArgs, row: &'a ServiceRow) -> Line<'a> {
    let key = if args.watch { vec![(&*row.namespace).into(), (&*row.name).into()] } else { Vec::new() };
    let mut cells: Cells<'a> = Vec::with_capacity(CELLS);
    if args.all_namespaces {
        cells.push((&*row.namespace).into());
    }
    let Ratio { used, all } = row.endpoints;
    cells.extend([
        (&*row.name).into(),
        row.r#type.into(),
        or_none(&row.cluster_ips),
        or_none(&row.external_addresses),
        ports(row),
        format!("{used}/{all}").into(),
        row.state.name().into(),
        number(row.connections),
    ]);
    let connections = cells.len() - 1;
    if args.output == Some(GetOutput::Wide) {
        let affinity = row.session_affinity_seconds.map(|seconds| format!("{seconds}s").into());
        cells.extend([
            row.internal_traffic_policy.into(),
            row.external_traffic_policy.into(),
            affinity.unwrap_or("None".into()),
            row.load_balancing.into(),
            row.message.as_deref().unwrap_or_default().into(),
        ]);
    }
    Line { key, cells, connections }
}

fn endpoint<'a>(
    args: &GetArgs,
    (row, port, endpoint): (&'a ServiceRow, &'a PortRow, &'a EndpointRow),
) -> Line<'a> {
    let name: Cow<'a, str> =
        if port.name.is_empty() { port.port.to_string().into() } else { (&*port.name).into() };
    let mut cells: Cells<'a> = Vec::with_capacity(CELLS);
    if args.all_namespaces {
        cells.push((&*row.namespace).into());
    }
    let state = endpoint.left_out.as_ref().map_or("used", |cause| cause.code);
    cells.extend([
        (&*row.name).into(),
        format!("{name}/{}", port.protocol).into(),
        (&*endpoint.address).into(),
        endpoint.node.as_deref().unwrap_or("<unknown>").into(),
        endpoint.share.map_or("-".into(), percentage),
        state.into(),
        number(endpoint.connections),
    ]);
    let connections = cells.len() - 1;
    if args.output == Some(GetOutput::Wide) {
        cells.extend([
            endpoint.pod.as_deref().unwrap_or("<unknown>").into(),
            endpoint.weight.to_string().into(),
            endpoint.left_out.as_ref().map(|cause| &*cause.message).unwrap_or_default().into(),
        ]);
    }
    let key = if args.watch {
        let (namespace, service) = ((&*row.namespace).into(), (&*row.name).into());
        vec![namespace, service, name, port.protocol.into(), (&*endpoint.address).into()]
    } else {
        Vec::new()
    };
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

/// How many cells room is made for: those of a line that is not wide.
const CELLS: usize = 9;

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
    fn a_share_has_one_digit() {
        for (share, text) in
            [(1.0 / 3.0, "33.3%"), (1.0, "100.0%"), (0.2, "20.0%"), (1.0 / 16.0, "6.2%"), (0.0, "0.0%")]
        {
            assert_eq!(percentage(share), text);
        }
    }

    #[test]
    fn a_rate_is_the_difference_of_the_connections_by_the_time_between() {
        let line = |count: &str| Line {
            key: Vec::new(),
            cells: vec!["web".into(), count.to_owned().into()],
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
