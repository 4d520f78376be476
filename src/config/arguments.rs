//! Flags, as clap reads them.

mod manifests;
mod node;
mod run;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

pub use self::{
    manifests::ManifestArgs,
    node::NodeArgs,
    run::{ApiArgs, ConntrackArgs, IneffectiveArgs, ProcessArgs, RunArgs, ServerArgs, SyncArgs},
};

/// Reads a path that may be empty, which is none: scripts write down every flag that they know.
pub(crate) fn optional_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Reads what Go's `strconv.ParseBool` takes.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    }
}
