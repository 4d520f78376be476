//! All sources of state: the API server, manifests and the host. Each source reports [`SourceEvent`]s to an [`Inbox`].

mod backlog;
pub mod cluster;
mod eligibility;
mod event;
pub mod host;
pub mod manifest;

pub use self::{
    backlog::{Backlog, MOST_TRIGGERS},
    event::{Change, Closed, Inbox, SourceEvent, Update},
};
