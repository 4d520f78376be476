//! Reads manifests for a command.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use portolan_rules::{
    compile::Compiler,
    explanation::Workloads,
    model::{Node, ObjectName},
    picture::count,
    state::State,
};

use crate::{
    agent::NodeFacts,
    cli::arguments::{LoggingArgs, ManifestArgs, SourceArgs},
    config::{
        self, Options,
        options::MODE,
        settings::{DetectLocal, RunSettings, Settings},
    },
    source::manifest::{Completeness, MAX_FILE_SIZE, Problem, Source, StandInRanges, is_pattern},
    text::first,
};

/// Returns a source of the manifests at these paths, for this node and its service proxy name.
pub fn source(settings: &Settings, paths: &[PathBuf], args: ManifestArgs) -> Source {
    Source::new(paths.iter().cloned(), &settings.node_name)
        .with_proxy_name(settings.proxy_name.clone())
        .allow_empty(args.allow_empty)
        .with_max_file_size(args.max_file_size.unwrap_or(MAX_FILE_SIZE))
}

/// Returns the settings of the rules, from flags or from the configuration file of `run`.
pub fn settings(options: &Options, config: Option<&Path>) -> Result<Settings, config::Error> {
    let Some(path) = config else { return Settings::new(options) };
    let mut options = options.clone();
    // The output is for nftables, whatever mode the file sets.
    options.set(&MODE, Some("nftables".to_owned().into()));
    let settings = RunSettings::resolve(&options, Some(path), false)?;
    for warning in &settings.warnings {
        eprintln!("portolan: warning: {warning}");
    }
    if !settings.without_effect.is_empty() {
        eprintln!("portolan: warning: without effect here: {}", settings.without_effect.join(", "));
    }
    Ok(settings.node)
}

/// Returns the paths, with patterns that the shell has not expanded replaced by the files that match.
pub fn expand(paths: &[PathBuf]) -> Vec<PathBuf> {
    let expand = |path: &PathBuf| -> Vec<PathBuf> {
        let pattern = path.to_str().filter(|text| is_pattern(text) && !path.exists());
        let found = pattern.and_then(|pattern| glob::glob(pattern).ok());
        let found: Vec<PathBuf> = found.into_iter().flatten().filter_map(Result::ok).collect();
        if found.is_empty() { vec![path.clone()] } else { found }
    };
    paths.iter().flat_map(expand).collect()
}

/// Returns the ranges for stand-ins that the settings give, in addition to those of the manifests.
pub fn stand_in_ranges(settings: &Settings) -> StandInRanges {
    let pods = match &settings.detect_local {
        DetectLocal::ClusterCidr(networks) => networks.clone(),
        DetectLocal::NodeCidr | DetectLocal::Bridge(_) | DetectLocal::InterfacePrefix(_) => Vec::new(),
    };
    StandInRanges { services: settings.service_cidrs.clone(), pods, has_node: false }
}

/// The state that the manifests give, and how complete it is.
pub struct Input {
    pub settings: Settings,
    pub state: State,
    pub service_cidrs: Vec<ipnetwork::IpNetwork>,
    pub completeness: Completeness,
    /// What explains why a Service has no endpoints.
    pub workloads: Workloads,
    /// Whether one of the paths had nothing that could be used, or a file could not be read.
    pub is_path_missing: bool,
    /// The Services that cannot be used at all, and why.
    pub unusable: BTreeMap<ObjectName, String>,
    /// Whether the addresses of this machine are used.
    pub host_addresses: bool,
}

impl Input {
    /// Leaves out the Services of all other namespaces. If this namespace has no Service, the input counts as nothing,
    /// unless input may be empty.
    pub fn only(&mut self, namespace: &str, allow_empty: bool) {
        let others: Vec<(ObjectName, Vec<ObjectName>)> = self
            .state
            .entries()
            .filter(|(name, _)| *name.namespace != *namespace)
            .map(|(name, entry)| {
                (name.clone(), entry.slices.iter().map(|slice| slice.name.clone()).collect())
            })
            .collect();
        for (service, slices) in others {
            self.state.set_service(&service, None);
            for slice in &slices {
                self.state.set_slice(slice, None);
            }
        }
        self.unusable.retain(|name, _| *name.namespace == *namespace);
        if self.state.services().next().is_none() && !allow_empty {
            eprintln!("portolan: the input has no Service of namespace {namespace} that can be used");
            self.completeness = Completeness::Nothing;
        }
    }

    /// Returns a compiler that knows the node and the ServiceCIDRs, and has compiled nothing yet.
    pub fn compiler(&mut self) -> Compiler {
        let Self { settings, state, service_cidrs, host_addresses, .. } = self;
        let mut compiler = Compiler::new(settings.config.clone());
        if let Some(lacking) = settings.lacks(state.node()) {
            eprintln!("portolan: warning: {lacking}");
        }
        let facts = if *host_addresses {
            NodeFacts::new(settings, state.node())
        } else {
            let has_node_ports =
                || state.services().any(|(service, _)| service.ports.iter().any(|p| p.node_port.is_some()));
            if state.node().addresses.is_empty() && has_node_ports() {
                eprintln!(
                    "portolan: warning: the input has no addresses of Node {}: node ports answer nowhere; \
                     --host-addresses takes those of this machine",
                    settings.node_name
                );
            }
            NodeFacts::elsewhere(settings, state.node())
        };
        facts.apply(&mut compiler, state);
        compiler.set_service_cidrs(state, &[&service_cidrs[..], &settings.service_cidrs].concat());
        compiler
    }
}

/// Reads the manifests at these paths. Problems with them are written to standard error, a line each.
pub fn files(settings: Settings, args: &SourceArgs) -> Input {
    let ranges = StandInRanges { has_node: !args.host_addresses, ..stand_in_ranges(&settings) };
    let ranges = (!args.no_stand_ins).then_some(ranges);
    let source = source(&settings, &expand(&args.filenames), args.manifests)
        .recursive(args.recursive)
        .with_stand_ins(ranges);
    Input { host_addresses: args.host_addresses, ..load(settings, source, args.logging) }
}

/// Loads a source. Problems with it are written to standard error, a line each.
pub fn load(settings: Settings, mut source: Source, logging: LoggingArgs) -> Input {
    let objects = source.load();
    for warning in &objects.warnings {
        eprintln!("portolan: warning: {warning}");
    }
    for error in &objects.errors {
        eprintln!("portolan: {error}");
    }
    for object in objects.without_stand_in {
        eprintln!("portolan: warning: {object} is left for a stand-in");
    }
    if let Some(warning) = unknown_node(&settings.node_name, &objects.node_names) {
        eprintln!("portolan: warning: {warning}");
    }
    let stand_ins = objects.stand_ins.addresses.len() + objects.stand_ins.node_ports.len();
    if stand_ins > 0 {
        let what = count(
            stand_ins,
            "address or port that a cluster would assign is a stand-in",
            "addresses and ports that a cluster would assign are stand-ins",
        );
        eprintln!("portolan: warning: {what} (--no-stand-ins leaves out what lacks them)");
    }
    if logging.verbosity >= 4 {
        for (kind, number) in objects.ignored {
            let objects = count(number, "object", "objects");
            eprintln!("portolan: ignored: {objects} of kind {kind}");
        }
    }
    let unknown = || Node { name: settings.node_name.clone(), ..Node::default() };
    let mut state = State::new(objects.node.map_or_else(unknown, |node| Node::clone(&node)));
    for (name, service) in objects.services {
        state.set_service(&name, Some(service));
    }
    for (name, slice) in objects.slices {
        state.set_slice(&name, Some(slice));
    }
    let mut workloads = source.workloads();
    workloads.is_of_manifests = true;
    for warning in &objects.warnings {
        if let Some((service, field)) = of_service(warning).zip(warning.field.as_deref()) {
            workloads.ignored.entry(service).or_default().push((field.into(), (&*warning.message).into()));
        }
    }
    Input {
        settings,
        state,
        service_cidrs: objects.service_cidrs,
        completeness: objects.completeness,
        workloads,
        is_path_missing: objects.is_path_missing,
        unusable: objects.errors.iter().filter_map(unusable).collect(),
        host_addresses: false,
    }
}

/// Returns the Service that a problem is about.
fn of_service(problem: &Problem) -> Option<ObjectName> {
    let (namespace, name) = problem.object.as_deref()?.strip_prefix("Service ")?.split_once('/')?;
    Some(ObjectName::new(namespace, name))
}

/// Returns the Service that a problem makes unusable, and why.
fn unusable(problem: &Problem) -> Option<(ObjectName, String)> {
    let field = problem.field.as_deref().map(|field| format!("{field} ")).unwrap_or_default();
    Some((of_service(problem)?, format!("{field}{}", problem.message)))
}

/// Returns a warning if the input has Nodes, but none of this name.
pub fn unknown_node(name: &Arc<str>, names: &[Arc<str>]) -> Option<String> {
    const SHOWN: usize = 5;
    if names.is_empty() || names.contains(name) {
        return None;
    }
    let names = first(names, SHOWN);
    Some(format!("the input has no Node {name}, only {names}; --hostname-override sets this node's name"))
}
