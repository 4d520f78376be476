//! What the commands that explain have in common: the input, compiled for a node.

pub mod agent;
mod error;
pub mod kernel;
mod open;
mod scene;
pub mod socket;
mod words;

pub use self::{
    error::Error,
    kernel::Compared,
    scene::Scene,
    words::{error, kind, no_service},
};
