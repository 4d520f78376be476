//! Reads the manifests of a command that does not stay.

use portolan_rules::{explanation::Workloads, model::Node, state::State};

use crate::{
    cli::arguments::InputArgs,
    config::settings::{Settings, SettingsError},
    source::manifest::{Completeness, Objects},
};

/// What the manifests say, and how much of what they are to say it is.
pub struct Input {
    pub settings: Settings,
    pub state: State,
    pub service_cidrs: Vec<ipnetwork::IpNetwork>,
    pub completeness: Completeness,
    /// What explains why a Service has no endpoints.
    pub workloads: Workloads,
    /// Whether nothing could be used of one of the paths, or a file could not be read.
    pub is_path_missing: bool,
}

/// Reads the manifests. What is wrong with them is written to standard error, a line each.
pub fn read(args: &InputArgs) -> Result<Input, SettingsError> {
    let settings = Settings::new(&args.node)?;
    let mut source = settings.manifests(&args.filenames, args.manifests);
    let Objects {
        services,
        slices,
        node,
        service_cidrs,
        ignored,
        warnings,
        errors,
        completeness,
        is_path_missing,
    } = source.load();
    for warning in &warnings {
        eprintln!("portolan: warning: {warning}");
    }
    for error in &errors {
        eprintln!("portolan: {error}");
    }
    if args.logging.verbosity >= 4 {
        for (kind, count) in ignored {
            eprintln!("portolan: {count} objects of kind {kind} do not matter here");
        }
    }
    let unknown = || Node { name: settings.node_name.clone(), ..Node::default() };
    let mut state = State::new(node.map_or_else(unknown, |node| Node::clone(&node)));
    for (name, service) in services {
        state.set_service(&name, Some(service));
    }
    for (name, slice) in slices {
        state.set_slice(&name, Some(slice));
    }
    let workloads = source.workloads();
    Ok(Input { settings, state, service_cidrs, completeness, workloads, is_path_missing })
}
