//! A picture in the language of Mermaid, which hosting sites draw in Markdown.

use std::fmt::Write as _;

use super::{
    model::{DoorState, LineState, Picture, Port, Subject},
    words::count,
};

/// A flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let mut out = String::new();
    // Writing into a `String` does not fail.
    let _ = write(&mut out, picture);
    out
}

fn write(out: &mut String, picture: &Picture) -> std::fmt::Result {
    writeln!(out, "flowchart LR")?;
    match &picture.subject {
        Subject::Services(panels) => {
            for (s, panel) in panels.iter().enumerate() {
                for (p, port) in panel.ports.iter().enumerate() {
                    self::port(out, &format!("s{s}p{p}"), &panel.name, port)?;
                }
            }
        }
        Subject::Overview { rows, more, .. } => {
            for (r, row) in rows.iter().enumerate() {
                let counts = format!("{} of {} used", row.counts.used(), row.counts.all());
                let class = if row.problem.is_some() { ":::bad" } else { "" };
                let lines = [&row.name, row.kind, &row.address, &counts];
                writeln!(out, "  r{r}[{}]{class}", quote(&lines))?;
            }
            if *more > 0 {
                writeln!(out, "  more[\"and {}\"]", count(*more, "more Service", "more Services"))?;
            }
        }
    }
    writeln!(out, "  classDef bad stroke:#c5221f,stroke-width:2px")?;
    writeln!(out, "  classDef here stroke:#0a7a8a,stroke-width:2px")?;
    writeln!(out, "  classDef zone stroke:#2b7a3d,stroke-width:2px")?;
    writeln!(out, "  classDef far stroke:#6a4bc4,stroke-width:2px")?;
    writeln!(out, "  classDef unused stroke-dasharray:3 3")
}

fn port(out: &mut String, id: &str, service: &str, port: &Port) -> std::fmt::Result {
    writeln!(out, "  subgraph {id}[{}]", quote(&[&format!("{service} · port {}", port.title)]))?;
    for (d, door) in port.doors.iter().enumerate() {
        let addresses: Vec<&str> = door.addresses.iter().map(|address| &*address.text).collect();
        let class = if door.state == DoorState::Open { "" } else { ":::bad" };
        let policy = door.summary();
        let label = quote(&[door.kind, &addresses.join(", "), &policy]);
        writeln!(out, "    {id}d{d}({label}){class}")?;
        if d > 0 {
            writeln!(out, "    {id}d{} -.- {id}d{d}", d - 1)?;
        }
    }
    writeln!(out, "  end")?;
    for (n, node) in port.nodes.iter().enumerate() {
        writeln!(out, "  subgraph {id}n{n}[{}]", quote(&[&node.title()]))?;
        if node.pods.is_empty() {
            writeln!(out, "    {id}n{n}e[\"no endpoint\"]:::unused")?;
        }
        for (e, pod) in node.pods.iter().enumerate() {
            let class = if pod.is_used() { node.place.class() } else { "unused" };
            let label = quote(&[pod.pod.as_deref().unwrap_or(""), &pod.address]);
            writeln!(out, "    {id}n{n}e{e}[{label}]:::{class}")?;
        }
        if let Some(words) = node.more.words() {
            writeln!(out, "    {id}n{n}more[{}]", quote(&[&words]))?;
        }
        writeln!(out, "  end")?;
        if let Some((d, word)) = port.broken_at(node) {
            writeln!(out, "  {id}d{d} --x|{}| {id}n{n}e", quote(&[word]))?;
        }
        for (e, pod) in node.pods.iter().enumerate() {
            for line in &pod.lines {
                let arrow = match &line.state {
                    LineState::Serves(_) => "-->",
                    LineState::Terminates(_) => "-.->",
                    LineState::LeftOut { .. } => continue,
                };
                let from = port.door_of(line.policy);
                writeln!(out, "  {id}d{from} {arrow}|{}| {id}n{n}e{e}", quote(&[&line.label()]))?;
            }
        }
    }
    if let Some(words) = port.more.words() {
        writeln!(out, "  {id}more[{}]", quote(&[&format!("{words}, on other nodes")]))?;
    }
    Ok(())
}

/// Lines of text as Mermaid writes them: whatever might have a meaning becomes an entity.
fn quote(lines: &[&str]) -> String {
    let escape = |text: &&&str| {
        let mut escaped = String::new();
        for c in text.chars() {
            if c.is_alphanumeric() || " .,:/-_()%·".contains(c) {
                escaped.push(c);
            } else {
                // Writing into a `String` does not fail.
                let _ = write!(escaped, "#{};", u32::from(c));
            }
        }
        escaped
    };
    let lines: Vec<String> = lines.iter().filter(|line| !line.is_empty()).map(|line| escape(&line)).collect();
    format!("\"{}\"", lines.join("<br>"))
}
