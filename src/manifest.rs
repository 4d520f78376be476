//! Services and endpoints from manifests: files, directories, standard input.
//!
//! A [`Source`] reads them once ([`Source::load`]); a [`Watcher`] goes on to tell what changes.

mod cluster;
mod contents;
mod derive;
mod document;
mod files;
mod inotify;
mod parse;
mod problem;
mod source;
mod watch;

pub use self::{
    cluster::Change,
    problem::Problem,
    source::{Objects, Source, Update},
    watch::Watcher,
};
/// temp
pub fn bench(b: &[u8]) -> String {
    let mut c = crate::api::Context::default();
    let x = parse::parse(b, &mut c);
    format!("{} {} {:?} {:?}", x.objects.len(), x.is_incomplete, x.errors.first(), x.warnings.first())
}
