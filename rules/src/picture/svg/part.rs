//! What pictures consist of, from the top to the bottom.

use maud::{Markup, PreEscaped};

/// Width of every picture.
pub const WIDTH: usize = 1000;
/// Room around everything.
pub const MARGIN: usize = 20;

/// A part of a picture: its height, and what is drawn as if it began at the top.
pub type Part = (usize, Markup);

/// Where the next thing is drawn, from the top.
pub struct Pen(pub usize);

impl Pen {
    /// Where it is; it goes down so far.
    pub const fn down(&mut self, step: usize) -> usize {
        let at = self.0;
        self.0 += step;
        at
    }
}

/// A new line between elements, so that the picture can be compared line by line.
pub fn nl() -> Markup {
    PreEscaped("\n".to_owned())
}

/// What follows a first class: the others of these, each after a space.
pub fn more_classes(classes: &[&str]) -> String {
    classes.iter().filter(|class| !class.is_empty()).flat_map(|class| [" ", class]).collect()
}
