//! Tables as kubectl writes them: aligned columns, three spaces apart.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use super::{
    arguments::{GetArgs, GetOutput},
    rows::{EndpointRow, PortRow, ServiceRow},
};
use crate::cli::columns::{Columns, GAP, align, or_dash};

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Services.
    Services,
    /// Endpoints.
    Endpoints,
}

/// The cells of a line, or its key.
pub type Cells<'a> = Vec<Cow<'a, str>>;

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// What the line is about; empty without `--watch`.
    pub key: Cells<'a>,
    pub cells: Cells<'a>,
    /// The index of the cell with the number of connections.
    connections: usize,
}

impl Line<'_> {
    /// Returns the line with its own copy of the text.
    pub fn into_owned(self) -> Line<'static> {
        let owned = |cells: Cells<'_>| cells.into_iter().map(|cell| Cow::Owned(cell.into_owned())).collect();
        Line { key: owned(self.key), cells: owned(self.cells), connections: self.connections }
    }

    /// Returns the connections per second since the cells `before`, which are `elapsed` old.
    pub fn rate(&self, before: &[Cow<'_, str>], elapsed: Duration) -> Option<f64> {
        let number = |cells: &[Cow<'_, str>]| cells.get(self.connections)?.parse::<u64>().ok();
        Some(per_second(number(&self.cells)?.saturating_sub(number(before)?), elapsed))
    }
}

/// Returns the rate per second of this count in this time.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Formats a rate per second for people.
pub fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 0.05 => "0".to_owned(),
        Some(rate) if rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// Returns `service/NAME` or `endpoint/ADDRESS` on each line.
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

/// An endpoint, with its port and its Service.
type Place<'a> = (&'a ServiceRow, &'a PortRow, &'a EndpointRow);

fn endpoints(rows: &[ServiceRow]) -> impl Iterator<Item = Place<'_>> {
    rows.iter()
        .flat_map(|row| row.ports.iter().map(move |port| (row, port)))
        .flat_map(|(row, port)| port.endpoints.iter().map(move |endpoint| (row, port, endpoint)))
}

/// Returns the column headers, if they are shown.
pub fn head(args: &GetArgs, listed: Listed) -> Columns {
    (!args.no_headers).then(|| heads(args, listed)).into_iter().collect()
}

/// Returns the text for the lines that changed, with connections per second, and for the lines that are gone.
pub fn watched(
    args: &GetArgs,
    listed: Listed,
    changed: &[(Line<'_>, Option<f64>)],
    gone: &[&Cells<'_>],
    is_first: bool,
) -> String {
    let mut lines = Columns::default();
    if is_first && !args.no_headers {
        lines.push(heads(args, listed).into_iter().chain(["PER-SECOND".into()]));
    }
    for (line, a_second) in changed {
        lines.push(line.cells.iter().map(|cell| &**cell).chain([&*rate(*a_second)]));
    }
    let mut text = align(&[lines], GAP);
    for key in gone {
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{} is gone", key.join(" "));
    }
    text
}

fn heads(args: &GetArgs, listed: Listed) -> Cells<'static> {
    fn titles<T>(columns: Vec<Column<'_, T>>) -> Cells<'static> {
        columns.into_iter().map(|(title, _)| title.into()).collect()
    }
    match listed {
        Listed::Services => titles(shown(args, service_columns())),
        Listed::Endpoints => titles(shown(args, endpoint_columns())),
    }
}

/// Returns the lines, without column headers.
pub fn lines<'a>(args: &GetArgs, listed: Listed, rows: &'a [ServiceRow]) -> Vec<Line<'a>> {
    match listed {
        Listed::Services => {
            let columns = shown(args, service_columns());
            let key = |row: &'a ServiceRow| vec![(&*row.namespace).into(), (&*row.name).into()];
            rows.iter().map(|row| line(args, &columns, row, key)).collect()
        }
        Listed::Endpoints => {
            let columns = shown(args, endpoint_columns());
            let key = |(row, port, endpoint): Place<'a>| {
                let (service, at) = ((&*row.name).into(), (&*endpoint.address).into());
                vec![(&*row.namespace).into(), service, port_name(port), port.protocol.into(), at]
            };
            endpoints(rows).map(|place| line(args, &columns, place, key)).collect()
        }
    }
}

fn line<'a, T: Copy>(
    args: &GetArgs,
    columns: &[Column<'a, T>],
    of: T,
    key: impl FnOnce(T) -> Cells<'a>,
) -> Line<'a> {
    Line {
        key: if args.watch { key(of) } else { Vec::new() },
        cells: columns.iter().map(|(_, cell)| cell(of)).collect(),
        connections: columns.iter().position(|(title, _)| *title == CONNECTIONS).unwrap_or_default(),
    }
}

/// A column: its title, and the cell of a line.
type Column<'a, T> = (&'static str, fn(T) -> Cow<'a, str>);

/// The title of the last column without `-o wide`.
const CONNECTIONS: &str = "CONNECTIONS";

/// Returns those of the columns that are shown. The first column is the namespace, which is shown only for all
/// namespaces.
fn shown<'a, T>(args: &GetArgs, columns: Vec<Column<'a, T>>) -> Vec<Column<'a, T>> {
    let narrow = columns.iter().take_while(|(title, _)| *title != CONNECTIONS).count() + 1;
    let shown = if args.output == Some(GetOutput::Wide) { columns.len() } else { narrow };
    columns.into_iter().take(shown).skip(usize::from(!args.all_namespaces)).collect()
}

fn service_columns<'a>() -> Vec<Column<'a, &'a ServiceRow>> {
    vec![
        ("NAMESPACE", |row| (&*row.namespace).into()),
        ("NAME", |row| (&*row.name).into()),
        ("TYPE", |row| row.r#type.into()),
        ("CLUSTER-IP", |row| or_none(&row.cluster_ips)),
        ("EXTERNAL-IP", |row| or_none(&row.external_addresses)),
        ("PORT(S)", ports),
        ("ENDPOINTS", |row| format!("{}/{}", row.endpoints.used, row.endpoints.all).into()),
        ("STATE", |row| row.state.name().into()),
        (CONNECTIONS, |row| or_dash(row.connections)),
        ("INTERNAL", |row| row.internal_traffic_policy.into()),
        ("EXTERNAL", |row| row.external_traffic_policy.into()),
        ("AFFINITY", |row| {
            row.session_affinity_seconds.map_or("None".into(), |seconds| format!("{seconds}s").into())
        }),
        ("BALANCING", |row| row.load_balancing.into()),
        ("MESSAGE", |row| row.message.as_deref().unwrap_or_default().into()),
    ]
}

fn endpoint_columns<'a>() -> Vec<Column<'a, Place<'a>>> {
    vec![
        ("NAMESPACE", |(row, ..)| (&*row.namespace).into()),
        ("SERVICE", |(row, ..)| (&*row.name).into()),
        ("PORT", |(_, port, _)| format!("{}/{}", port_name(port), port.protocol).into()),
        ("ENDPOINT", |(.., endpoint)| (&*endpoint.address).into()),
        ("NODE", |(.., endpoint)| endpoint.node.as_deref().unwrap_or("<unknown>").into()),
        ("SHARE", |(.., endpoint)| endpoint.share.map_or("-".into(), percentage)),
        ("STATE", |(.., endpoint)| endpoint.left_out.as_ref().map_or("used", |cause| cause.code).into()),
        (CONNECTIONS, |(.., endpoint)| or_dash(endpoint.connections)),
        ("POD", |(.., endpoint)| endpoint.pod.as_deref().unwrap_or("<unknown>").into()),
        ("WEIGHT", |(.., endpoint)| endpoint.weight.to_string().into()),
        ("MESSAGE", |(.., endpoint)| endpoint.left_out.as_ref().map_or("", |cause| &*cause.message).into()),
    ]
}

fn port_name(port: &PortRow) -> Cow<'_, str> {
    if port.name.is_empty() { port.port.to_string().into() } else { (&*port.name).into() }
}

fn or_none(list: &[String]) -> Cow<'_, str> {
    match list {
        [] => "<none>".into(),
        [one] => one.into(),
        several => several.join(",").into(),
    }
}

/// Formats a share as a percentage with one decimal. Uses integers: formatting an exact decimal takes ten times as
/// long.
#[allow(clippy::cast_sign_loss, reason = "a share is not negative")]
pub fn percentage(share: f64) -> Cow<'static, str> {
    let tenths = (share * 1000.0).round_ties_even() as u32;
    format!("{}.{}%", tenths / 10, tenths % 10).into()
}

/// Formats the ports as kubectl does: `80:30080/TCP`.
fn ports(row: &ServiceRow) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
