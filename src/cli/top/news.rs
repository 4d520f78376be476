//! What the view waits for.

use std::io;

use ratatui::crossterm::event::KeyEvent;

use super::model::Look;

/// What the view waits for.
pub enum News {
    /// What the agent answered.
    Look(Box<Look>),
    /// It does not answer, and why.
    Lost(String),
    /// A key.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// The end, by a signal or with the terminal; with an error if it is one.
    End(Option<io::Error>),
}
