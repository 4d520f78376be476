//! A picture in the language of Mermaid, which hosting sites draw in Markdown.

use std::fmt::Write as _;

use super::{
    graph::{Group, Line, Look, Part, Shape, Stroke, graph},
    model::{Mark, Picture},
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
    for part in graph(picture) {
        match part {
            Part::Group(group) => self::group(out, &group)?,
            Part::Box(shape) => self::shape(out, "  ", &shape)?,
            Part::Line(line) => self::line(out, "  ", &line)?,
        }
    }
    writeln!(out, "  classDef bad stroke:#c5221f,stroke-width:2px")?;
    writeln!(out, "  classDef here stroke:#0a7a8a,stroke-width:2px")?;
    writeln!(out, "  classDef zone stroke:#2b7a3d,stroke-width:2px")?;
    writeln!(out, "  classDef far stroke:#6a4bc4,stroke-width:2px")?;
    if picture.earlier.is_some() {
        writeln!(out, "  classDef new stroke:#2b7a3d,stroke-width:4px")?;
        writeln!(out, "  classDef gone stroke:#c5221f,stroke-width:3px,stroke-dasharray:6 3,color:#c5221f")?;
        writeln!(out, "  classDef changed stroke:#9a5b00,stroke-width:4px")?;
    }
    writeln!(out, "  classDef unused stroke-dasharray:3 3")
}

fn group(out: &mut String, group: &Group) -> std::fmt::Result {
    writeln!(out, "  subgraph {}[{}]", group.id, quote(&[group.title.join(" · ")]))?;
    group.boxes.iter().try_for_each(|shape| self::shape(out, "    ", shape))?;
    group.lines.iter().try_for_each(|line| self::line(out, "    ", line))?;
    writeln!(out, "  end")
}

fn shape(out: &mut String, indent: &str, Shape { id, text, look }: &Shape) -> std::fmt::Result {
    let label = quote(text);
    let (open, close) = if matches!(look, Look::Frontend(_)) { ('(', ')') } else { ('[', ']') };
    let class = match *look {
        Look::Service(Mark::Same, true) | Look::Frontend(false) => "bad",
        Look::Service(mark, _) | Look::Pod(mark @ (Mark::New | Mark::Gone | Mark::Changed), ..) => {
            mark.class()
        }
        Look::Pod(_, place, true) => place.class(),
        Look::Pod(_, _, false) => "unused",
        Look::Frontend(true) | Look::Words => "",
    };
    let class = if class.is_empty() { String::new() } else { format!(":::{class}") };
    writeln!(out, "{indent}{id}{open}{label}{close}{class}")
}

fn line(out: &mut String, indent: &str, Line { from, to, label, stroke }: &Line) -> std::fmt::Result {
    let arrow = match stroke {
        Stroke::Nested => return writeln!(out, "{indent}{from} -.- {to}"),
        Stroke::Serves(Mark::Gone, _) | Stroke::Ends(..) => "-.->",
        Stroke::Serves(..) => "-->",
        Stroke::Broken => "--x",
    };
    writeln!(out, "{indent}{from} {arrow}|{}| {to}", quote(std::slice::from_ref(label)))
}

/// Lines of text as Mermaid writes them: each character that might have a meaning becomes an entity.
fn quote(lines: &[String]) -> String {
    let escape = |text: &String| {
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
    let lines: Vec<String> = lines.iter().filter(|line| !line.is_empty()).map(escape).collect();
    format!("\"{}\"", lines.join("<br>"))
}
