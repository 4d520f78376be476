//! Services and endpoints from manifests: files, directories, standard input.
//!
//! A [`Source`] reads them once ([`Source::load`]); a [`Watcher`] goes on to tell what changes.

mod cluster;
mod contents;
mod derive;
mod document;
mod files;
mod inotify;
mod objects;
mod parallel;
mod parse;
mod problem;
mod size;
mod source;
mod split;
mod watch;
mod workloads;

pub(crate) use self::problem::one_line;
pub use self::{
    problem::{Problem, report},
    source::{Completeness, MAX_FILE_SIZE, Objects, Source, Update},
    watch::Watcher,
};
