//! Services and endpoints from manifests: files, directories, standard input.
//!
//! A [`Source`] reads them once ([`Source::load`]); a [`Watcher`] reports changes from then on.

mod cluster;
mod contents;
mod derive;
mod document;
mod files;
mod objects;
mod parallel;
mod parse;
mod problem;
mod size;
mod source;
mod split;
mod watch;
mod workloads;

pub use self::{
    problem::{Problem, report},
    source::{MAX_FILE_SIZE, Objects, Refresh, Source},
    watch::Watcher,
};
pub use super::event::Completeness;
