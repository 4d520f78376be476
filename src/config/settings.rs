//! Checks options, and turns them into settings.

mod check;
mod node;
mod resolve;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use self::check::parse_url;
pub use self::{
    node::{DetectLocal, KUBE_PROXY_TABLE, SOCKET_DIRECTORY, Settings, socket_path, table_name},
    run::{ApiSettings, ConntrackSettings, LoggingSettings, Requested, RunSettings, SyncSettings},
};
