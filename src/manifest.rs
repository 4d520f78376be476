//! Services and endpoints from manifests: files, directories, standard input.
//!
//! A [`Source`] reads them once ([`Source::load`]); a [`Watcher`] goes on to tell what changes.

mod cluster;
mod contents;
mod derive;
mod document;
mod files;
mod held;
mod inotify;
mod named;
mod parallel;
mod parse;
mod problem;
mod source;
mod split;
mod watch;

pub(crate) use self::problem::one_line;
pub use self::{
    problem::{Problem, report},
    source::{Objects, Source, Update},
    watch::Watcher,
};
