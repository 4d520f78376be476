//! Services and endpoints from manifests.

mod contents;
mod document;
mod parse;
