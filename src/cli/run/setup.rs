//! What `run` does before it touches nftables, and the flags that it handles without running the agent.

use std::{fs, io, process::ExitCode};

use portolan_rules::ruleset::Family;
use tracing::{debug, field::display, info, warn};

use crate::{
    cli::{
        output::{self, CommandError},
        run::RunArgs,
    },
    config::{
        options::{CLUSTER_CIDR, KUBECONFIG, NODEPORT_ADDRESSES},
        settings::{DetectLocal, RunSettings},
    },
    kernel::{
        conntrack, kube_proxy,
        nftables::{Features, Kernel, Served},
        sysctl::{self, Effort, Sysctls},
    },
    source::{
        cluster::{Cluster, Options},
        host,
    },
};

/// Handles `--show-config`, `--write-config-to`, `--cleanup` and `--init-only`. Returns `None` if none of them is
/// given.
pub fn answer(args: &RunArgs, settings: &RunSettings) -> Result<Option<ExitCode>, CommandError> {
    if args.show_config == Some(true) {
        warn(args, settings);
        let text = text(settings).map_err(|error| format!("cannot write the configuration: {error}"))?;
        output::print(text.as_bytes())?;
        return Ok(Some(ExitCode::SUCCESS));
    }
    if let Some(path) = args.write_config_to.as_ref().filter(|path| !path.as_os_str().is_empty()) {
        let written = text(settings).and_then(|text| fs::write(path, text));
        written.map_err(|error| format!("--write-config-to: {}: {error}", path.display()))?;
        info!(path = %path.display(), "Configuration written");
        return Ok(Some(ExitCode::SUCCESS));
    }
    if args.cleanup == Some(true) {
        Kernel::open()?.remove(&settings.node.config.table)?;
        return Ok(Some(ExitCode::SUCCESS));
    }
    if args.init_only == Some(true) {
        set_sysctls(settings, Effort::Everything)?;
        return Ok(Some(ExitCode::SUCCESS));
    }
    Ok(None)
}

/// Returns the configuration as a file. Its head lists the flags for which the file has no fields.
fn text(settings: &RunSettings) -> io::Result<String> {
    let flags = settings.flags_beside_file.iter().map(|flag| format!("#   {}\n", flag.escape_debug()));
    let flags: String = flags.collect();
    let title = "# These flags have no fields in the file; give them in addition to --config:\n";
    let title = if flags.is_empty() { "" } else { title };
    Ok(format!("{title}{flags}{}", settings.options.to_yaml()?))
}

/// Opens the kernel and probes its features. The first log line reports them.
pub fn open_kernel(settings: &RunSettings) -> Result<(Kernel, Features, Served), CommandError> {
    let (version, node) = (env!("CARGO_PKG_VERSION"), &*settings.node.node_name);
    let config = &settings.node.config;
    let mut kernel = Kernel::open()?;
    let features = kernel.probe(&config.table)?;
    info!(version, node, kernel = %features.release, %features, "Starting");
    let served = features.serve(config)?;
    for warning in &served.warnings {
        warn!(error = %warning, "Kernel is limited");
    }
    let rules = kube_proxy::traces(&mut kernel)?;
    if !rules.is_empty() {
        warn!(
            rules = rules.join(", "),
            "kube-proxy's rules are on this node as well; remove them once it no longer runs here"
        );
    }
    Ok((kernel, features, served))
}

/// Logs what is questionable about the configuration.
pub fn warn(args: &RunArgs, settings: &RunSettings) {
    for warning in &settings.warnings {
        warn!(error = %warning, "Configuration file has a field that is ignored");
    }
    if !settings.without_effect.is_empty() {
        let file = settings.origin.file.as_deref().map(|file| display(file.display()));
        warn!(file, options = settings.without_effect.join(", "), "Without effect here");
    }
    let host = host::addresses().unwrap_or_default();
    for family in settings.node.node_port_addresses.open_families(&host) {
        let option = settings.origin.short_name(&NODEPORT_ADDRESSES);
        let family = if family == Family::Ip { "IPv4" } else { "IPv6" };
        warn!(
            option,
            family,
            "Node ports of a family without a listed network answer on every address; the word primary restricts them"
        );
    }
    let is_cluster = args.filenames.is_empty();
    if is_cluster
        && matches!(&settings.node.detect_local, DetectLocal::ClusterCidr(networks) if networks.is_empty())
    {
        let missing = settings.origin.short_name(&CLUSTER_CIDR);
        warn!(missing, "Pods cannot be recognised, so that no connection to a ClusterIP is masqueraded");
    }
}

/// Checks the files that are read later, before anything is touched.
pub fn check_files(args: &RunArgs, settings: &RunSettings) -> Result<(), CommandError> {
    for path in args.filenames.iter().filter(|path| path.as_os_str() != "-") {
        fs::metadata(path).map_err(|error| format!("-f {}: {error}", path.display()))?;
    }
    let Some(path) = settings.api.kubeconfig.clone().filter(|_| args.filenames.is_empty()) else {
        return Ok(());
    };
    let problem = match fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(file) if file.is_dir() => io::ErrorKind::IsADirectory.into(),
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let place = settings.origin.name(&KUBECONFIG);
    Err(format!("{place}: {}: {problem}", path.display()).into())
}

/// Finds out where the API server is, and reads the credentials for it.
pub fn cluster(settings: &RunSettings) -> Result<Cluster, CommandError> {
    let mut options = Options::from(&settings.node);
    options.timing.relist = settings.api.relist;
    options.startup_taint = settings.api.startup_taint.as_deref().map(Into::into);
    Cluster::new(&settings.api, options).map_err(|error| {
        if settings.api.kubeconfig.is_some() {
            format!("{}: {error}", settings.origin.name(&KUBECONFIG)).into()
        } else {
            error.into()
        }
    })
}

/// Sets sysctls and the out-of-memory score. With manifests, the machine need not be a node, so only explicit settings
/// are applied.
pub fn set_up(args: &RunArgs, settings: &RunSettings) -> Result<(), CommandError> {
    let is_node = args.filenames.is_empty();
    let effort = if is_node { Effort::Explicit } else { Effort::OnlyExplicit };
    set_sysctls(settings, effort)?;
    if is_node || settings.oom_score_adj.is_explicit {
        sysctl::set_oom_score(settings.oom_score_adj);
    }
    Ok(())
}

/// Sets the sysctls of connection tracking, after loading it if necessary.
fn set_sysctls(settings: &RunSettings, effort: Effort) -> Result<(), CommandError> {
    let sysctls = Sysctls::default();
    if !sysctls.are_there()
        && let Err(error) = conntrack::load()
    {
        debug!(%error, "Connection tracking cannot be loaded");
    }
    sysctls.apply(&settings.conntrack, effort).map_err(|error| {
        let place = settings.origin.name(error.option);
        let hint = if effort != Effort::Everything && error.is_about_privileges() {
            "; `portolan run --init-only` sets it once, with more privileges"
        } else {
            ""
        };
        format!("{place}: {error}{hint}").into()
    })
}
