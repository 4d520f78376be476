//! Services and endpoints from manifests: files, directories, standard input.
//!
//! A [`Source`] reads them once ([`Source::load`]); a [`Watcher`] reports changes from then on.

mod cluster;
mod contents;
mod derive;
mod document;
mod files;
mod kubectl_yaml;
mod mistake;
mod objects;
mod parallel;
mod parse;
mod problem;
mod refresh;
mod size;
mod source;
mod split;
mod stand_ins;
mod watch;
mod workloads;

pub use self::{
    problem::{Problem, report},
    refresh::{Objects, Refresh},
    source::{MAX_FILE_SIZE, Source, is_pattern},
    stand_ins::StandInRanges,
    watch::Watcher,
};
pub use super::event::Completeness;
