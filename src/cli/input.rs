//! What a command reads: manifests, or the objects of a cluster.

pub mod cluster;
mod load;

pub use self::load::{Input, expand, files, settings, source, stand_in_ranges, unknown_node};
use super::{arguments::InputArgs, output::CommandError};

/// Reads the manifests, or lists the cluster. Problems are written to standard error, a line each.
pub fn read(args: &InputArgs) -> Result<Input, CommandError> {
    let source = args.source();
    let settings = settings(&source.options.0, source.config.as_deref())?;
    let namespace = args.namespace.as_deref();
    let mut input = if source.is_cluster() {
        let (input, _) = cluster::list(&source, namespace, settings)?;
        Input { host_addresses: source.host_addresses, ..input }
    } else {
        files(settings, &source)
    };
    if let Some(namespace) = namespace {
        input.only(namespace, source.manifests.allow_empty);
    }
    Ok(input)
}
