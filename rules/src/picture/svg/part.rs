//! The parts of a picture, from top to bottom.

use maud::{Markup, PreEscaped};

/// Width of every picture.
pub const WIDTH: usize = 1000;
/// Room around everything.
pub const MARGIN: usize = 20;

/// A part of a picture: its height, and its markup as if it began at the top.
pub type Part = (usize, Markup);

/// The position of the next thing to draw, from the top.
pub struct Pen(pub usize);

impl Pen {
    /// Returns the position, and moves down by `step`.
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

/// The classes that follow a first class, each after a space. Empty ones are left out.
pub fn more_classes(classes: &[&str]) -> String {
    classes.iter().filter(|class| !class.is_empty()).flat_map(|class| [" ", class]).collect()
}
