//! A picture as SVG: the frontends at the left, each kind around the next one, the nodes at the right, and a line to
//! each endpoint that is used.

mod overview;
mod panel;
mod part;

use maud::{Markup, PreEscaped, html};

use self::part::{MARGIN, Part, Pen, WIDTH, nl};
use super::{
    model::{Mark, Picture, Subject},
    words::shorten,
};

/// The style sheet of the pictures, for both colour schemes.
pub const STYLE: &str = include_str!("style.css");

/// A self-contained SVG file.
pub fn svg(picture: &Picture) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    text.push_str(&draw(picture, Some(STYLE)).into_string());
    text.push('\n');
    text
}

/// The element `svg` alone, for a page that has [`STYLE`] in its style sheet.
pub fn fragment(picture: &Picture) -> Markup {
    draw(picture, None)
}

fn draw(picture: &Picture, style: Option<&str>) -> Markup {
    let mut parts: Vec<Part> = Vec::new();
    match &picture.subject {
        Subject::Services(panels) => {
            if panels.is_empty() {
                parts.push((30, html! { text.dim x=(MARGIN) y="20" { (picture.nothing()) } }));
            }
            parts.extend(panels.iter().map(panel::panel));
        }
        Subject::Overview { rows, more, .. } => parts.extend(overview::overview(picture, rows, *more)),
    }
    parts.push(legend(picture));
    let height = parts.iter().map(|(height, _)| height).sum::<usize>() + 2 * MARGIN;
    let mut pen = Pen(MARGIN);
    html! {
        svg.portolan-picture xmlns="http://www.w3.org/2000/svg" role="img" width=(WIDTH) height=(height)
            viewBox={ "0 0 " (WIDTH) " " (height) } {
            title { (picture.title()) }
            @if let Some(style) = style { style { "\n" (PreEscaped(style)) } }
            (nl()) rect.ground width=(WIDTH) height=(height) {}
            @for (height, part) in &parts {
                (nl()) g transform={ "translate(0 " (pen.down(*height)) ")" } { (part) (nl()) }
            }
            (nl())
        }
    }
}

/// What the colours and lines mean, and where the picture comes from.
fn legend(picture: &Picture) -> Part {
    let line = |x: usize, class: &str, text: &str| {
        html! {
            (nl()) path class=(class) d={ "M" (x) " 16h26" } {}
            text.small.dim x=(x + 32) y="20" { (text) }
        }
    };
    let (first, origins) = match &picture.earlier {
        Some(earlier) => (64, vec![format!("before: {earlier}"), format!("after: {}", picture.origin)]),
        None => (42, vec![picture.origin.clone()]),
    };
    let markup = html! {
        (line(MARGIN, "line here", "this node"))
        (line(MARGIN + 120, "line zone", "same zone"))
        (line(MARGIN + 240, "line far", "elsewhere"))
        (line(MARGIN + 360, "line far ends", "terminating"))
        (line(MARGIN + 490, "line bad", "refused or dropped"))
        (nl()) rect.pod.unused x=(MARGIN + 650) y="8" width="26" height="16" rx="4" {}
        text.small.dim x=(MARGIN + 682) y="20" { "endpoint that is not used" }
        @if picture.earlier.is_some() {
            @for (place, mark) in [Mark::New, Mark::Gone, Mark::Changed].into_iter().enumerate() {
                @let x = MARGIN + 120 * place;
                (nl()) rect class={ "pod " (mark.class()) } x=(x) y="30" width="26" height="16" rx="4" {}
                text.small.dim x=(x + 32) y="42" { (mark.class()) }
            }
        }
        @for (line, origin) in origins.iter().enumerate() {
            (nl()) text.small.dim x=(MARGIN) y=(first + 18 * line) { (shorten(origin, 150)) }
        }
    };
    (first + 18 * origins.len() - 10, markup)
}
