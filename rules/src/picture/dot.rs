//! A picture in the language of Graphviz.

use std::fmt::Write as _;

use super::{
    graph::{Group, Line, Look, Part, Shape, Stroke, graph},
    model::{Mark, Picture, Place},
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
    let label = quote(&format!("{}\n{}", picture.title(), picture.origins()));
    writeln!(out, "  label={label}; rankdir=LR; node [shape=box];")?;
    for part in graph(picture) {
        match part {
            Part::Group(group) => self::group(out, &group)?,
            Part::Box(shape) => self::shape(out, "  ", &shape)?,
            Part::Line(line) => self::line(out, "  ", &line)?,
        }
    }
    writeln!(out, "}}")
}

fn group(out: &mut String, group: &Group) -> std::fmt::Result {
    writeln!(out, "  subgraph cluster_{} {{", group.id)?;
    let look = group.place.map_or("style=rounded".to_owned(), |place| format!("color={}", colour(place)));
    writeln!(out, "    label={}; {look};", quote(&group.title.join("\n")))?;
    group.boxes.iter().try_for_each(|shape| self::shape(out, "    ", shape))?;
    group.lines.iter().try_for_each(|line| self::line(out, "    ", line))?;
    writeln!(out, "  }}")
}

fn shape(out: &mut String, indent: &str, Shape { id, text, look }: &Shape) -> std::fmt::Result {
    let label = quote(&text.join("\n"));
    let look = match *look {
        Look::Service(Mark::Same, false) => String::new(),
        Look::Service(Mark::Same, true) => ", color=red".to_owned(),
        Look::Service(mark, _) => of_mark(mark).to_owned(),
        Look::Frontend(true) => ", style=rounded".to_owned(),
        Look::Frontend(false) => ", style=rounded, color=red".to_owned(),
        Look::Pod(mark, _, is_used) => {
            format!(", style={}{}", if is_used { "solid" } else { "dashed" }, of_mark(mark))
        }
        Look::Words => ", shape=plain".to_owned(),
    };
    writeln!(out, "{indent}{id} [label={label}{look}];")
}

fn line(out: &mut String, indent: &str, Line { from, to, label, stroke }: &Line) -> std::fmt::Result {
    let of = |style: &str, mark: Mark, place: Place| {
        let colour = match mark {
            Mark::New => "darkgreen",
            Mark::Gone => "red",
            Mark::Same | Mark::Changed => colour(place),
        };
        format!("label={}, style={style}, color={colour}", quote(label))
    };
    let look = match *stroke {
        Stroke::Nested => "style=dotted, arrowhead=none".to_owned(),
        Stroke::Serves(Mark::Gone, place) => of("dotted", Mark::Gone, place),
        Stroke::Serves(mark, place) => of("solid", mark, place),
        Stroke::Ends(mark, place) => of("dashed", mark, place),
        Stroke::Broken => format!("label={}, color=red, arrowhead=tee", quote(label)),
    };
    writeln!(out, "{indent}{from} -> {to} [{look}];")
}

/// The attributes of a box with a mark.
const fn of_mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Same => "",
        Mark::New => ", color=darkgreen, penwidth=2",
        Mark::Gone => ", color=red, fontcolor=red, penwidth=2",
        Mark::Changed => ", color=darkorange, penwidth=2",
    }
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
