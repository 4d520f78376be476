//! Shared by the commands that explain: the input, compiled for a node.

pub mod agent;
pub mod kernel;
mod open;
mod scene;
pub mod socket;
mod words;

pub use self::{
    kernel::Compared,
    scene::Scene,
    socket::AgentError,
    words::{no_service, object_name},
};
