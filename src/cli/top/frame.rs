//! Draws the view from its state.

use std::borrow::Cow;

use portolan_rules::picture::{count, shorten};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line as Text, Span},
    widgets::{Cell, Paragraph, Row, Table},
};
use serde_json::Value;

use super::{
    arguments::Sort,
    model::{EndpointLine, Line, Model},
};
use crate::cli::{
    columns::or_dash,
    get::{
        commits,
        rows::{PortRow, ServiceRow, State},
        table::{percentage, rate},
    },
};

/// Number of commits that are shown.
const COMMITS: u16 = 5;
/// Number of problems of the open Service that are shown.
const PROBLEMS: usize = 2;
/// From this width on, endpoints are shown with their nodes.
const WIDE: u16 = 110;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GREY: Style = Style::new().add_modifier(Modifier::DIM);
const MARKED: Style = Style::new().add_modifier(Modifier::REVERSED);
const BAD: Style = Style::new().fg(Color::Red);
const WARN: Style = Style::new().fg(Color::Yellow);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, body, commits_area, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Fill(1),
        Constraint::Length(COMMITS + 1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header(model)), head);
    if model.opened.is_some() {
        opened(frame, body, model);
    } else {
        services(frame, body, model);
    }
    let commits = model.look.commits.iter().take(COMMITS.into());
    let width = commits_area.width.into();
    let commits = commits.map(|it| commit(it, width));
    let lines = std::iter::once(Text::styled("Changes", BOLD)).chain(commits);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), commits_area);
    frame.render_widget(Paragraph::new(footer(model)).style(MARKED), foot);
}

/// Returns two lines: the state of the node, and what is counted.
fn header(model: &Model) -> Vec<Text<'_>> {
    let look = &model.look;
    let first = match &model.lost {
        Some(why) => Text::styled(why.as_str(), BAD),
        None => Text::from(vec![
            Span::styled(format!("Portolan on {}", look.node), BOLD),
            Span::raw(format!("  {}", look.freshness)),
        ]),
    };
    let number = count(model.lines.len(), "Service", "Services");
    let second = match (&look.problem, model.total_rates()) {
        (Some(problem), _) => Text::styled(problem.as_str(), WARN),
        (None, None) => Text::raw(number),
        (None, Some((new, refused))) => Text::raw(format!(
            "{number}, {} new and {} refused connections a second",
            rate(Some(new)),
            rate(Some(refused))
        )),
    };
    vec![first, second]
}

/// Draws the Services around the selected one, as many as there is room for.
fn services(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let [table_area, message_area] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let selected = model.selected();
    let room = usize::from(table_area.height.saturating_sub(1));
    let start = window(selected, room, model.lines.len());
    let shown = model.lines.iter().enumerate().skip(start).take(room);
    let rows = shown.filter_map(|(at, line)| {
        let row = service(line, model.row(line)?);
        Some(if at == selected { row.style(MARKED) } else { row })
    });
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(11),
        Constraint::Length(8),
        Constraint::Length(11),
    ];
    let heads = [
        ("SERVICE", Sort::Name),
        ("ENDPOINTS", Sort::Endpoints),
        ("NEW/S", Sort::Rate),
        ("CONNECTIONS", Sort::Connections),
        ("REFUSED", Sort::Refused),
    ];
    let heads = heads.map(|(head, sort)| {
        let style = if sort == model.sort { BOLD.add_modifier(Modifier::UNDERLINED) } else { BOLD };
        let cell = Text::styled(head, style);
        Cell::new(if sort == Sort::Name { cell } else { cell.right_aligned() })
    });
    let heads = heads.into_iter().chain([Cell::new(Text::styled("STATE", BOLD))]);
    frame.render_widget(Table::new(rows, widths).header(Row::new(heads)), table_area);
    let message = match model.lines.get(selected).and_then(|line| model.row(line)) {
        Some(row) => row.message.clone().unwrap_or_default(),
        None if model.filter.is_empty() => "There are no Services.".to_owned(),
        None => format!("No Service has {} in its name.", model.filter),
    };
    frame.render_widget(Paragraph::new(message).style(GREY), message_area);
}

/// Returns the first line to show, so that the selected line is among the `room` lines that are shown.
fn window(selected: usize, room: usize, all: usize) -> usize {
    selected.saturating_sub(room / 2).min(all.saturating_sub(room))
}

fn right<'a>(text: impl Into<Cow<'a, str>>) -> Cell<'a> {
    Cell::new(Text::raw(text).right_aligned())
}

fn service<'a>(line: &Line, row: &ServiceRow) -> Row<'a> {
    let refused = right(or_dash(line.refused));
    let is_refusing = line.refused_rate.is_some_and(|rate| rate > 0.0);
    Row::new([
        Cell::new(line.name.to_string()),
        right(format!("{}/{}", row.endpoints.used, row.endpoints.all)),
        right(rate(line.rate)),
        right(or_dash(line.connections)),
        if is_refusing { refused.style(BAD) } else { refused },
        Cell::new(row.state.name()).style(state_style(row)),
    ])
}

fn state_style(row: &ServiceRow) -> Style {
    match row.state {
        State::Programmed | State::Planned if row.problems.iter().any(|it| it.severity == "error") => BAD,
        State::Programmed | State::Planned => Style::new(),
        State::Waiting => WARN,
        State::Shadowed | State::Quarantined | State::Unusable => BAD,
    }
}

/// Draws the open Service: its problems and its endpoints.
fn opened(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(row) = &model.look.opened else {
        let name = model.opened.as_ref().map(ToString::to_string).unwrap_or_default();
        frame.render_widget(Paragraph::new(format!("Service {name} is not there.")), area);
        return;
    };
    let mut problems: Vec<&str> = row.problems.iter().map(|problem| &*problem.message).collect();
    // Several ports and families may have the same problem.
    problems.dedup();
    problems.truncate(PROBLEMS);
    let lines = 1 + problems.len() as u16;
    let [title_area, table_area] =
        Layout::vertical([Constraint::Length(lines), Constraint::Fill(1)]).areas(area);
    let name = format!("Service {}/{}", row.namespace, row.name);
    let about = format!("  {} {}  {}", row.r#type, row.cluster_ips.join(","), row.state.name());
    let mut title = vec![Text::from(vec![Span::styled(name, BOLD), Span::styled(about, state_style(row))])];
    title.extend(problems.into_iter().map(|problem| Text::styled(problem, WARN)));
    frame.render_widget(Paragraph::new(title), title_area);

    let has_node = area.width >= WIDE;
    let mut widths = vec![Constraint::Fill(1)];
    let mut heads = vec![Cell::new("ENDPOINT")];
    if has_node {
        widths.push(Constraint::Length(24));
        heads.push(Cell::new("NODE"));
    }
    for (head, width) in [("WANTED", 7), ("SEEN", 7), ("NEW/S", 7), ("CONNECTIONS", 11)] {
        widths.push(Constraint::Length(width));
        heads.push(right(head));
    }
    widths.push(Constraint::Length(13));
    heads.push(Cell::new("STATE"));
    let ports = row.ports.iter().flat_map(|port| {
        let endpoints = model.endpoints(port).into_iter().map(|line| endpoint(&line, has_node));
        std::iter::once(self::port(port)).chain(endpoints.collect::<Vec<_>>())
    });
    let rows = ports.skip(model.scroll).take(table_area.height.into());
    frame.render_widget(Table::new(rows, widths).header(Row::new(heads).style(BOLD)), table_area);
}

fn port<'a>(port: &PortRow) -> Row<'a> {
    let name = if port.name.is_empty() { String::new() } else { format!("{} ", port.name) };
    Row::new([Cell::new(format!("{name}{}/{} ({})", port.port, port.protocol, port.family)).style(GREY)])
}

fn endpoint<'a>(line: &EndpointLine<'_>, has_node: bool) -> Row<'a> {
    let percent = |share: Option<f64>| or_dash(share.map(percentage));
    let mut cells = vec![Cell::new(line.endpoint.address.clone())];
    if has_node {
        cells.push(Cell::new(line.endpoint.node.clone().unwrap_or_default()));
    }
    cells.extend([
        right(percent(line.endpoint.share)),
        right(percent(line.seen)),
        right(rate(line.rate)),
        right(or_dash(line.connections)),
    ]);
    cells.push(match &line.endpoint.left_out {
        None => Cell::new("used"),
        Some(cause) => Cell::new(cause.code).style(GREY),
    });
    Row::new(cells)
}

/// Returns a commit in a line of this width.
fn commit<'a>(commit: &Value, width: usize) -> Text<'a> {
    let at = commit["at"].as_str().unwrap_or_default();
    // The time of day, from a time in RFC 3339.
    let time = at.get(11..19).unwrap_or(at);
    let style = if commit["succeeded"] == true { Style::new() } else { BAD };
    let time = format!("{time} ");
    let summary = shorten(&commits::summary(commit), width.saturating_sub(time.len()));
    Text::from(vec![Span::styled(time, GREY), Span::styled(summary, style)])
}

fn footer(model: &Model) -> String {
    if model.is_typing {
        return format!(" filter: {}_   Enter keep   Esc clear", model.filter);
    }
    if model.opened.is_some() {
        return " q quit   Esc back   ↑↓ scroll".to_owned();
    }
    let filter =
        if model.filter.is_empty() { "/ filter".to_owned() } else { format!("/ {}   Esc all", model.filter) };
    format!(" q quit   ↑↓ select   Enter open   s sort   r reverse   {filter}")
}
