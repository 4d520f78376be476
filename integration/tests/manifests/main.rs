//! Services and endpoints from manifests: files, directories, standard input.

mod any_input;
mod endpoints;
mod incomplete;
mod pods;
mod read;
mod watch;
