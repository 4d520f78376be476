//! A picture as text, at most [`WIDTH`] columns wide.
//!
//! ```text
//! ╭ NodePort :30080 of every node ─────────────╮
//! │ ╭ ClusterIP 10.96.0.10:3000 ─────────────╮ │
//! ╰─┴──────┬─────────────────────────────────┴─╯
//!          │   ╭ node-b ─────────────────────────╮
//!          ├───┼─ 50.0 % ─▶ pod-1  10.128.2.4:443 │
//! ```

use super::{
    model::{Counts, Frontend, Mark, NodeBox, Panel, Picture, Place, PodCard, Port, Row, Subject},
    words::{count, number, shorten},
};
use crate::explanation::Severity;

/// Columns.
const WIDTH: usize = 80;
/// The column in which the lines to endpoints run down.
const TRUNK: usize = 9;
/// Characters in the bar of a Service's endpoints.
const BAR: usize = 20;

/// The picture.
pub fn text(picture: &Picture) -> String {
    let mut rows = Vec::new();
    match &picture.subject {
        Subject::Services(panels) => {
            if panels.is_empty() {
                rows.push(picture.nothing().to_owned());
            }
            for panel in panels {
                self::panel(&mut rows, panel);
                rows.push(String::new());
            }
        }
        Subject::Overview { rows: services, more, .. } => {
            rows.push(picture.title());
            rows.push("█ this node  ▓ same zone  ▒ elsewhere  · not used".to_owned());
            rows.push(String::new());
            for row in services {
                rows.push(overview(row));
                if let Some(problem) = row.problem.as_ref().filter(|it| it.severity > Severity::Info) {
                    rows.extend(wrap(&problem.sentence, 4, 4));
                }
            }
            if *more > 0 {
                rows.push(format!("and {}", count(*more, "more Service", "more Services")));
            }
            rows.push(String::new());
        }
    }
    if let Some(earlier) = &picture.earlier {
        rows.push("+ new  - gone  ~ changed".to_owned());
        rows.push(format!("before: {earlier}"));
        rows.push(format!("after: {}", picture.origin));
    } else {
        rows.push(picture.origin.clone());
    }
    let mut text = String::new();
    for row in rows {
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn overview(row: &Row) -> String {
    let Counts { here, zone, elsewhere, unused } = row.counts;
    let all = row.counts.all().max(1);
    let mut sum = 0;
    let mut bar = String::new();
    for (part, letter) in [(here, "█"), (zone, "▓"), (elsewhere, "▒"), (unused, "·")] {
        let from = sum * BAR / all;
        sum += part;
        bar.push_str(&letter.repeat(sum * BAR / all - from));
    }
    let name = shorten(&format!("{}{}", row.mark.sign(), row.name), 30);
    let start = format!("{name:<30} {:>9}  {bar:<BAR$}", row.used());
    match &row.problem {
        Some(problem) => format!("{start} {}", problem.severity.name()),
        None => format!("{start} {}", row.kind),
    }
}

fn panel(rows: &mut Vec<String>, panel: &Panel) {
    rows.push(format!("{}Service {}", panel.mark.sign(), shorten(&panel.name, WIDTH - 10)));
    for problem in &panel.problems {
        rows.extend(wrap(&format!("{}: {}", problem.severity.name(), problem.sentence), 2, 4));
        rows.extend(wrap(&problem.hint, 4, 4));
    }
    rows.extend(panel.notes.iter().flat_map(|note| wrap(note, 2, 4)));
    for port in &panel.ports {
        rows.push(format!("Port {}", shorten(&port.title, WIDTH - 5)));
        self::port(rows, port);
    }
    if panel.more_ports > 0 {
        rows.push(format!("and {}", count(panel.more_ports, "more port", "more ports")));
    }
}

/// Lines of at most [`WIDTH`] columns.
fn wrap(text: &str, first: usize, later: usize) -> Vec<String> {
    let mut lines = vec![" ".repeat(first)];
    for word in text.split(' ') {
        let line = lines.last_mut().map_or(0, |line| line.chars().count());
        if line > later && line + 1 + word.chars().count() > WIDTH {
            lines.push(" ".repeat(later));
        }
        let Some(last) = lines.last_mut() else { break };
        if last.chars().any(|c| c != ' ') {
            last.push(' ');
        }
        last.push_str(&shorten(word, WIDTH - later));
    }
    lines
}

fn port(rows: &mut Vec<String>, port: &Port) {
    let outer: Vec<&str> = port.frontends.iter().map(|_| "│ ").collect();
    for (depth, frontend) in port.frontends.iter().enumerate() {
        self::frontend(rows, frontend, &outer, depth);
    }
    // All frontends close in one row, from which the lines go down.
    let inner = port.frontends.len().saturating_sub(1);
    let corner = format!("╰─{}", "┴─".repeat(inner));
    let right = format!("{}─╯", "─┴".repeat(inner));
    let used = corner.chars().count() + right.chars().count();
    let bottom: String = format!("{corner}{}{right}", "─".repeat(WIDTH.saturating_sub(used)));
    let bottom = bottom.chars().enumerate().map(|(column, c)| if column == TRUNK { '┬' } else { c });
    rows.push(bottom.collect());

    let broken = port.broken().map(|(_, _, word)| word);
    let several = port.nodes.iter().flat_map(|node| &node.pods).any(|pod| pod.lines.len() > 1);
    for node in &port.nodes {
        self::node(rows, node, broken, several);
    }
    let trunk = format!("{}┆   ", " ".repeat(TRUNK));
    rows.extend(port.more.words.iter().map(|words| format!("{trunk}{words}")));
    if port.idle_nodes > 0 {
        rows.push(format!("{trunk}and {} without endpoints", count(port.idle_nodes, "node", "nodes")));
    }
}

fn frontend(rows: &mut Vec<String>, frontend: &Frontend, outer: &[&str], depth: usize) {
    let before = outer.get(..depth).unwrap_or_default().concat();
    let after = " │".repeat(depth);
    let width = WIDTH - 4 * depth;
    let (title, listed) = match frontend.addresses.as_slice() {
        [only] if only.left_out.is_none() => {
            (format!("{}{} {}", only.mark.sign(), frontend.kind, only.text), &[][..])
        }
        all => (frontend.kind.to_owned(), all),
    };
    let title = shorten(&title, width - 5);
    let rest = "─".repeat(width.saturating_sub(4 + title.chars().count()));
    rows.push(format!("{before}╭ {title} {rest}╮{after}"));
    let mut line = |text: &str| {
        let text = shorten(text, width - 4);
        rows.push(format!("{before}│ {text:<0$} │{after}", width - 4));
    };
    for address in listed {
        match &address.left_out {
            Some(reason) => line(&format!("✗ {}{}: {reason}", address.mark.sign(), address.text)),
            None => line(&format!("{}{}", address.mark.sign(), address.text)),
        }
    }
    if frontend.more > 0 {
        line(&format!("and {} more", number(frontend.more)));
    }
    match frontend.answer {
        None => line("✗ not served by this node"),
        Some(_) => line(&frontend.summary()),
    }
    if let Some(was) = &frontend.was {
        line(&format!("was {was}"));
    }
}

fn node(rows: &mut Vec<String>, node: &NodeBox, broken: Option<&str>, several: bool) {
    let width = WIDTH - TRUNK - 4;
    let trunk = format!("{}│   ", " ".repeat(TRUNK));
    let mut title = node.heading();
    let addresses = &node.addresses;
    let fits = title.chars().count() + addresses.chars().count() + 8 <= width;
    if fits && !addresses.is_empty() {
        title = format!("{title} · {addresses}");
    }
    let title = shorten(&title, width - 5);
    let rest = "─".repeat(width.saturating_sub(4 + title.chars().count()));
    rows.push(format!("{trunk}╭ {title} {rest}╮"));
    let inside = |rows: &mut Vec<String>, text: &str| {
        rows.push(format!("{trunk}│ {:<1$} │", shorten(text, width - 4), width - 4));
    };
    if !fits && !addresses.is_empty() {
        inside(rows, addresses);
    }
    let branch = |rows: &mut Vec<String>, arrow: &str, text: &str| {
        let room = width.saturating_sub(4 + arrow.chars().count());
        rows.push(format!("{}├───┼{arrow} {:<room$} │", " ".repeat(TRUNK), shorten(text, room)));
    };
    if let Some(word) = broken.filter(|_| node.place == Place::Here) {
        branch(rows, &format!("─ {word} ─✗"), "");
    }
    if node.pods.is_empty() && node.more.words.is_none() {
        inside(rows, "no endpoint here");
    }
    for pod in &node.pods {
        let name = name(pod);
        for line in pod.used() {
            let policy = if several { format!("{} ", line.policy) } else { String::new() };
            let arrow = match line.both() {
                both if pod.mark == Mark::Gone => format!("╌ {policy}{both} ╌✗"),
                both if line.terminates => format!("╌ {policy}{both} ╌▶"),
                both => format!("─ {policy}{both} ─▶"),
            };
            branch(rows, &arrow, &name);
        }
        if let Some(sentence) = pod.why_unused() {
            inside(rows, &format!("  ✗ {name}"));
            inside(rows, &format!("    {sentence}"));
        }
    }
    if let Some(words) = &node.more.words {
        inside(rows, words);
    }
    rows.push(format!("{trunk}╰{}╯", "─".repeat(width - 2)));
}

fn name(pod: &PodCard) -> String {
    let PodCard { mark, address, weight, .. } = pod;
    let address = format!("{}{address}", mark.sign());
    match &pod.pod {
        Some(name) => format!("{address}  {}{weight}", shorten(name, 40)),
        None => format!("{address}{weight}"),
    }
}
