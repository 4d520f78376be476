//! A picture as groups of boxes, and lines between the boxes: the common part of the graph languages.

use super::{
    model::{Mark, Picture, Place, Port, Subject},
    words::count,
};

/// A part of a graph, in the order in which it is written.
pub(super) enum Part {
    /// Boxes with a frame around them.
    Group(Group),
    /// A box without a frame.
    Box(Shape),
    /// A line between boxes.
    Line(Line),
}

/// Boxes with a frame around them.
pub(super) struct Group {
    pub id: String,
    pub title: Vec<String>,
    /// The place of a node; `None` for frontends.
    pub place: Option<Place>,
    pub boxes: Vec<Shape>,
    /// Lines between these boxes.
    pub lines: Vec<Line>,
}

/// A box.
pub(super) struct Shape {
    pub id: String,
    pub text: Vec<String>,
    pub look: Look,
}

/// What a box looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A Service in an overview; whether something is wrong.
    Service(Mark, bool),
    /// A frontend; whether it leads somewhere.
    Frontend(bool),
    /// An endpoint; whether it is used.
    Pod(Mark, Place, bool),
    /// Words alone.
    Words,
}

/// A line.
pub(super) struct Line {
    pub from: String,
    pub to: String,
    pub label: String,
    pub stroke: Stroke,
}

/// What a line looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    /// From a frontend to the one inside.
    Nested,
    /// To an endpoint.
    Serves(Mark, Place),
    /// To an endpoint that terminates.
    Ends(Mark, Place),
    /// To the point at which connections end that reach no endpoint.
    Broken,
}

/// The parts of a picture.
pub(super) fn graph(picture: &Picture) -> Vec<Part> {
    let mut parts = Vec::new();
    match &picture.subject {
        Subject::Services(panels) => {
            for (s, panel) in panels.iter().enumerate() {
                let name = format!("{}{}", panel.mark.sign(), panel.name);
                for (p, port) in panel.ports.iter().enumerate() {
                    self::port(&mut parts, &format!("s{s}p{p}"), &name, port);
                }
            }
        }
        Subject::Overview { rows, more, .. } => {
            for (r, row) in rows.iter().enumerate() {
                let text = vec![
                    format!("{}{}", row.mark.sign(), row.name),
                    format!("{} {}", row.kind, row.address),
                    format!("{} used", row.used()),
                ];
                let look = Look::Service(row.mark, row.problem.is_some());
                parts.push(Part::Box(Shape { id: format!("r{r}"), text, look }));
            }
            if *more > 0 {
                parts.push(Part::Box(words(
                    "more",
                    format!("and {}", count(*more, "more Service", "more Services")),
                )));
            }
        }
    }
    parts
}

fn words(id: &str, text: String) -> Shape {
    Shape { id: id.to_owned(), text: vec![text], look: Look::Words }
}

fn port(parts: &mut Vec<Part>, id: &str, service: &str, port: &Port) {
    let frontends = port.frontends.iter().enumerate().map(|(d, frontend)| {
        let addresses: Vec<String> = frontend
            .addresses
            .iter()
            .map(|address| format!("{}{}", address.mark.sign(), address.text))
            .collect();
        let text = vec![format!("{} {}", frontend.kind, addresses.join(", ")), frontend.words()];
        Shape { id: format!("{id}d{d}"), text, look: Look::Frontend(frontend.is_open()) }
    });
    let nested = (1..port.frontends.len()).map(|d| Line {
        from: format!("{id}d{}", d - 1),
        to: format!("{id}d{d}"),
        label: String::new(),
        stroke: Stroke::Nested,
    });
    parts.push(Part::Group(Group {
        id: id.to_owned(),
        title: vec![service.to_owned(), format!("port {}", port.title)],
        place: None,
        boxes: frontends.collect(),
        lines: nested.collect(),
    }));
    for (n, node) in port.nodes.iter().enumerate() {
        let mut boxes = Vec::new();
        if node.pods.is_empty() {
            boxes.push(words(&format!("{id}n{n}e"), "no endpoint".to_owned()));
        }
        for (e, pod) in node.pods.iter().enumerate() {
            let name = pod.pod.clone().into_iter();
            let mut text: Vec<String> = name.chain([pod.address.clone()]).collect();
            text[0].insert_str(0, pod.mark.sign());
            let look = Look::Pod(pod.mark, node.place, pod.is_used());
            boxes.push(Shape { id: format!("{id}n{n}e{e}"), text, look });
        }
        boxes.extend(node.more.words.clone().map(|text| words(&format!("{id}n{n}more"), text)));
        let addresses = Some(node.addresses.clone()).filter(|addresses| !addresses.is_empty());
        parts.push(Part::Group(Group {
            id: format!("{id}n{n}"),
            title: std::iter::once(node.heading()).chain(addresses).collect(),
            place: Some(node.place),
            boxes,
            lines: Vec::new(),
        }));
        if node.place == Place::Here
            && node.pods.is_empty()
            && let Some((d, _, word)) = port.broken()
        {
            parts.push(Part::Line(Line {
                from: format!("{id}d{d}"),
                to: format!("{id}n{n}e"),
                label: word.to_owned(),
                stroke: Stroke::Broken,
            }));
        }
        for (e, pod) in node.pods.iter().enumerate() {
            for line in pod.used() {
                let stroke: fn(Mark, Place) -> Stroke =
                    if line.terminates { Stroke::Ends } else { Stroke::Serves };
                parts.push(Part::Line(Line {
                    from: format!("{id}d{}", port.frontend_of(line.policy)),
                    to: format!("{id}n{n}e{e}"),
                    label: line.both(),
                    stroke: stroke(pod.mark, node.place),
                }));
            }
        }
    }
    parts.extend(port.more.words.clone().map(|text| Part::Box(words(&format!("{id}more"), text))));
}
