//! Pictures of Services: the frontends, the nodes, and the endpoints on the nodes, with shares and reasons.
//!
//! A [`Picture`] is made from the [`crate::explanation`] of a node's view. It is small whatever the view holds: what
//! does not fit is folded into a number. [`overlay`] makes a picture of two states, with marks on the differences. The
//! writers only lay the picture out: [`svg`], [`html`], [`mermaid`], [`dot`], [`text`]; [`mermaid`] and [`dot`] share
//! the `graph`. All text from outside is cleaned of control characters when the picture is made, and escaped by each
//! writer. The same state gives the same bytes.

mod dot;
mod fold;
mod graph;
mod html;
mod make;
mod mermaid;
mod model;
mod overlay;
mod svg;
mod text;
mod words;

pub use self::{
    dot::dot,
    html::{PAGE_STYLE, html},
    make::{OUTSIDE_IN, overview, picture, row},
    mermaid::mermaid,
    model::{Picture, Row, ShownFinding, Subject},
    overlay::{State, overlay},
    svg::{STYLE, fragment, svg},
    text::text,
    words::{count, number, severity_class, shorten},
};
