//! The agent: sources of Services and endpoints, and the kernel that serves them.

pub mod api;
pub mod manifest;
