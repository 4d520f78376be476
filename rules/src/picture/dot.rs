//! A picture in the language of Graphviz.

use std::fmt::Write as _;

use super::{
    model::{DoorState, LineState, Picture, Place, Port, Subject},
    words::count,
};

/// A graph for `dot -Tsvg`.
pub fn dot(picture: &Picture) -> String {
    let mut out = String::new();
    // Writing into a `String` does not fail.
    let _ = write(&mut out, picture);
    out
}

fn write(out: &mut String, picture: &Picture) -> std::fmt::Result {
    writeln!(out, "digraph portolan {{")?;
    writeln!(
        out,
        "  label={}; rankdir=LR; node [shape=box];",
        quote(&format!("{}\n{}", picture.title(), picture.origin))
    )?;
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
                let label = format!(
                    "{}\n{} {}\n{} of {} used",
                    row.name,
                    row.kind,
                    row.address,
                    row.counts.used(),
                    row.counts.all()
                );
                let colour = if row.problem.is_some() { ", color=red" } else { "" };
                writeln!(out, "  r{r} [label={}{colour}];", quote(&label))?;
            }
            if *more > 0 {
                writeln!(
                    out,
                    "  more [shape=plain, label=\"and {}\"];",
                    count(*more, "more Service", "more Services")
                )?;
            }
        }
    }
    writeln!(out, "}}")
}

fn port(out: &mut String, id: &str, service: &str, port: &Port) -> std::fmt::Result {
    writeln!(out, "  subgraph cluster_{id} {{")?;
    writeln!(out, "    label={}; style=rounded;", quote(&format!("{service}\nport {}", port.title)))?;
    for (d, door) in port.doors.iter().enumerate() {
        let addresses: Vec<&str> = door.addresses.iter().map(|address| &*address.text).collect();
        let label = format!("{} {}\n{}", door.kind, addresses.join(", "), door.summary());
        let colour = if door.state == DoorState::Open { "" } else { ", color=red" };
        writeln!(out, "    {id}d{d} [label={}, style=rounded{colour}];", quote(&label))?;
        if d > 0 {
            writeln!(out, "    {id}d{} -> {id}d{d} [style=dotted, arrowhead=none];", d - 1)?;
        }
    }
    writeln!(out, "  }}")?;
    for (n, node) in port.nodes.iter().enumerate() {
        writeln!(out, "  subgraph cluster_{id}n{n} {{")?;
        let label = format!("{}\n{}", node.heading(), node.addresses());
        writeln!(out, "    label={}; color={};", quote(&label), colour(node.place))?;
        if node.pods.is_empty() {
            writeln!(out, "    {id}n{n}e [shape=plain, label=\"no endpoint\"];")?;
        }
        for (e, pod) in node.pods.iter().enumerate() {
            let name = pod.pod.as_ref().map(|pod| format!("{pod}\n")).unwrap_or_default();
            let style = if pod.is_used() { "solid" } else { "dashed" };
            writeln!(
                out,
                "    {id}n{n}e{e} [label={}, style={style}];",
                quote(&format!("{name}{}", pod.address))
            )?;
        }
        if let Some(words) = node.more.words() {
            writeln!(out, "    {id}n{n}more [shape=plain, label={}];", quote(&words))?;
        }
        writeln!(out, "  }}")?;
        if let Some((d, word)) = port.broken_at(node) {
            writeln!(out, "  {id}d{d} -> {id}n{n}e [label={}, color=red, arrowhead=tee];", quote(word))?;
        }
        for (e, pod) in node.pods.iter().enumerate() {
            for line in &pod.lines {
                let style = match &line.state {
                    LineState::Serves(_) => "solid",
                    LineState::Terminates(_) => "dashed",
                    LineState::LeftOut { .. } => continue,
                };
                let from = port.door_of(line.policy);
                let (label, colour) = (quote(&line.label()), colour(node.place));
                writeln!(
                    out,
                    "  {id}d{from} -> {id}n{n}e{e} [label={label}, style={style}, color={colour}];"
                )?;
            }
        }
    }
    if let Some(words) = port.more.words() {
        writeln!(out, "  {id}more [shape=plain, label={}];", quote(&format!("{words}, on other nodes")))?;
    }
    Ok(())
}

const fn colour(place: Place) -> &'static str {
    match place {
        Place::Here => "cyan4",
        Place::Zone => "forestgreen",
        Place::Elsewhere => "slateblue",
    }
}

/// A string as DOT writes it.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
