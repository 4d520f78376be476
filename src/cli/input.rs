//! Reads the manifests of a command.

use std::{collections::BTreeMap, path::PathBuf};

use portolan_rules::{
    compile::Compiler,
    explanation::Workloads,
    model::{Node, ObjectName},
    state::State,
};

use crate::{
    agent::NodeFacts,
    cli::arguments::{InputArgs, LoggingArgs, ManifestArgs},
    config::{Error, settings::Settings},
    source::manifest::{Completeness, MAX_FILE_SIZE, Objects, Problem, Source},
};

/// The manifests at these paths, of which this node serves what is its own.
pub fn source(settings: &Settings, paths: &[PathBuf], args: ManifestArgs) -> Source {
    Source::new(paths.iter().cloned(), &settings.node_name)
        .with_proxy_name(settings.proxy_name.clone())
        .allow_empty(args.allow_empty)
        .with_max_file_size(args.max_file_size.unwrap_or(MAX_FILE_SIZE))
}

/// The state that the manifests give, and how complete it is.
pub struct Input {
    pub settings: Settings,
    pub state: State,
    pub service_cidrs: Vec<ipnetwork::IpNetwork>,
    pub completeness: Completeness,
    /// What explains why a Service has no endpoints.
    pub workloads: Workloads,
    /// Whether nothing could be used of one of the paths, or a file could not be read.
    pub is_path_missing: bool,
    /// The Services that cannot be used at all, and why.
    pub unusable: BTreeMap<ObjectName, String>,
    /// Whether this machine is the node, so that its addresses are the node's.
    pub is_this_node: bool,
}

impl Input {
    /// A compiler that knows the node and the ServiceCIDRs, and has compiled nothing yet.
    pub fn compiler(&mut self) -> Compiler {
        let Self { settings, state, service_cidrs, is_this_node, .. } = self;
        let mut compiler = Compiler::new(settings.config.clone());
        if let Some(lacking) = settings.lacks(state.node()) {
            eprintln!("portolan: warning: {lacking}");
        }
        let facts = if *is_this_node { NodeFacts::new } else { NodeFacts::elsewhere };
        facts(settings, state.node()).apply(&mut compiler, state);
        compiler.set_service_cidrs(state, &[&service_cidrs[..], &settings.service_cidrs].concat());
        compiler
    }
}

/// Reads the manifests. Problems with them are written to standard error, a line each.
pub fn read(args: &InputArgs) -> Result<Input, Error> {
    let settings = Settings::new(&args.options.0)?;
    let source = source(&settings, &args.filenames, args.manifests);
    Ok(load(settings, source, args.logging))
}

/// Loads a source. Problems with it are written to standard error, a line each.
pub fn load(settings: Settings, mut source: Source, logging: LoggingArgs) -> Input {
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
    if logging.verbosity >= 4 {
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
    let unusable = errors.iter().filter_map(unusable).collect();
    let workloads = source.workloads();
    Input {
        settings,
        state,
        service_cidrs,
        completeness,
        workloads,
        is_path_missing,
        unusable,
        is_this_node: true,
    }
}

/// The Service that a problem makes unusable.
fn unusable(problem: &Problem) -> Option<(ObjectName, String)> {
    let (namespace, name) = problem.object.as_deref()?.strip_prefix("Service ")?.split_once('/')?;
    let field = problem.field.as_deref().map(|field| format!("{field} ")).unwrap_or_default();
    Some((ObjectName::new(namespace, name), format!("{field}{}", problem.message)))
}
