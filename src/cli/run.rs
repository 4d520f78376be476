//! `run`: keeps the kernel in step with the cluster, or with manifests.

mod follow;
mod setup;

use std::{
    io,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use portolan_rules::{model::Node, ruleset::Family};
use tracing::{debug, error, info, warn};

use crate::{
    agent::{Agent, Ending, Event, SyncError, memory, queue, reconcile},
    api::Kind,
    cli::{
        arguments::ManifestArgs,
        input,
        output::{CommandError, Ended},
    },
    config::{self, RunFlags, boolean, settings::RunSettings},
    kernel::nftables,
    localhost,
    observe::{
        endpoint_counters, events::Recorder, health::Health, history::History, logging, metrics::Metrics,
        query::Asker, server,
    },
    retry::Retry,
    source::{
        Change, Update, host,
        manifest::{self, Completeness, Objects, Source},
    },
};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Takes kube-proxy's flags and its configuration file. Without -f, Services and EndpointSlices come from
the API server. Runs until SIGTERM, which leaves the rules in place. --help lists all flags.

Exit status: 0 done, 1 an error, a changed configuration file, or with --once some input was not used.

Examples:
  portolan run --config /var/lib/kube-proxy/config.conf --hostname-override $NODE_NAME
  portolan run --kubeconfig /etc/kubernetes/proxy.conf --cluster-cidr 10.128.0.0/14,fd00:128::/56
  portolan run -f web.yaml --once";

/// Arguments of `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// File or directory with manifests (YAML or JSON), or - for standard input, in place of an API server; may
    /// be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "master", "remove-taint"])]
    pub filenames: Vec<PathBuf>,

    /// Program the kernel once and exit; needs -f
    #[arg(long, requires = "filenames")]
    pub once: bool,

    /// Use stand-ins for ClusterIPs, node ports and load balancer addresses that Services of manifests lack, and for
    /// the Pods of workloads, as `render` does
    #[arg(long, requires = "filenames")]
    pub stand_ins: bool,

    /// What to accept in manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// File with a KubeProxyConfiguration (v1alpha1), as kubeadm writes it; with it, most flags have no effect
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub config: Option<PathBuf>,

    /// Refuse a configuration file with unknown or repeated fields, rather than warn about them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub strict_config: Option<bool>,

    /// Print the resolved configuration and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub show_config: Option<bool>,

    /// Write the resolved configuration to a file and exit
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub write_config_to: Option<PathBuf>,

    /// Set the sysctls of connection tracking, which needs more privileges than NET_ADMIN, and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub init_only: Option<bool>,

    /// Remove Portolan's tables and exit, like `portolan cleanup`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub cleanup: Option<bool>,

    /// Options of the agent.
    #[command(flatten)]
    pub options: RunFlags,
}

impl RunArgs {
    /// Reads the configuration file, if one is given, and checks it and the flags.
    pub fn settings(&self) -> Result<RunSettings, config::Error> {
        RunSettings::resolve(&self.options.0, self.config.as_deref(), self.strict_config == Some(true))
    }
}

/// Parses a path that may be empty. An empty path means no path, since scripts may give every flag that they know.
pub(super) fn optional_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// How many times `--once` tries.
const ONCE_ATTEMPTS: u32 = 5;

/// Runs the agent.
pub fn run(args: &RunArgs) -> Ended {
    memory::share_arenas();
    // Every problem with flags and files is found before anything is touched.
    let settings = args.settings()?;
    logging::start(settings.logging);
    let ended = start(args, &settings);
    if let Err(CommandError::Error(error)) = &ended
        && settings.logging.is_json
    {
        // Every line of a JSON log is JSON.
        error!(%error, "Agent cannot start");
        return Err(CommandError::Reported);
    }
    ended
}

fn start(args: &RunArgs, settings: &RunSettings) -> Ended {
    let no_thread = |error: io::Error| format!("cannot start a thread: {error}");
    if let Some(code) = setup::answer(args, settings)? {
        return Ok(code);
    }
    setup::check_files(args, settings)?;
    let cluster = args.filenames.is_empty().then(|| setup::cluster(settings)).transpose()?;
    let (kernel, features, served) = setup::open_kernel(settings)?;
    setup::warn(args, settings);
    setup::set_up(args, settings)?;

    let health = Health::new(settings.sync.period);
    let ((recorder, warnings), metrics) = (Recorder::new(), Metrics::default());
    let mut node = settings.node.clone();
    let on_localhost: Vec<Family> = served
        .families
        .iter()
        .copied()
        .filter(|family| node.node_port_addresses.has_localhost(*family))
        .collect();
    node.config.families = served.families;
    let history = History::new(settings.node.config.table.clone());
    let observers = (metrics.clone(), history.clone());
    let mut agent = Agent::new(node, kernel, health.clone(), recorder.clone(), observers);
    agent.set_sync(settings.sync);
    if settings.table_owner {
        agent.own_tables()?;
    }
    if args.once {
        agent.remove_stale_flows(None).map_err(no_thread)?;
        let is_whole = take_over(&mut agent, settings, manifests(args, settings).load());
        return if agent.is_ready() { once(&mut agent, is_whole) } else { Ok(ExitCode::FAILURE) };
    }
    let (events, inbox) = queue(health.clone());
    let stop = events.clone();
    let is_reading = Arc::new(AtomicBool::new(!args.filenames.is_empty()));
    let still_reading = Arc::clone(&is_reading);
    let is_counted =
        settings.node.config.endpoint_counters && (settings.metrics.is_some() || settings.socket.is_some());
    let counters = is_counted.then(|| {
        let table = settings.node.config.table.clone();
        endpoint_counters::follow(table, metrics.connections()).map_err(no_thread)
    });
    let counters = counters.transpose()?;
    let queries = events.clone();
    let asker = Asker::new(move |query| queries.send(Event::Query(query)).is_ok());
    let on_end = move || {
        let _ = stop.send(Event::Stop(Ending::Asked));
        // Standard input may never end, and the reconciler does not read the queue before it ends.
        if still_reading.load(Ordering::SeqCst) {
            info!("Stopping before the manifests are read; the rules stay in place");
            std::process::exit(0);
        }
    };
    let shared = server::Shared {
        settings: Arc::new(settings.clone()),
        features: Arc::new(features),
        health: health.clone(),
        metrics: metrics.clone(),
        history,
        asker,
        counters,
        started: Instant::now(),
    };
    agent.serve_health_checks(server::start(&shared, recorder, on_end)?);
    if !on_localhost.is_empty() {
        agent.serve_localhost(localhost::start(on_localhost).map_err(no_thread)?);
    }
    host::watch(events.clone())
        .map_err(|error| format!("cannot watch the addresses of this host: {error}"))?;
    agent.listen(events.clone())?;
    agent.remove_stale_flows(Some(events.clone())).map_err(no_thread)?;
    follow::follow(args, settings, events.clone()).map_err(no_thread)?;
    if let Some(cluster) = cluster {
        health.expect_news_of([Kind::Service, Kind::EndpointSlice]);
        cluster.start(health, &metrics, warnings, events)?;
    } else {
        let (watcher, objects) = manifests(args, settings).watch();
        take_over(&mut agent, settings, objects);
        if !agent.is_ready() && !watcher.can_change() {
            return Ok(ExitCode::FAILURE);
        }
        watcher.start(events, health).map_err(no_thread)?;
    }
    is_reading.store(false, Ordering::SeqCst);
    let ending = reconcile(&mut agent, &inbox);
    if let Err(error) = agent.retire_all() {
        warn!(%error, "Unused objects stay in the tables until the next start");
    }
    agent.finish_flows();
    info!("Stopping; the rules stay in place");
    Ok(if ending == Ending::Failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn manifests(args: &RunArgs, settings: &RunSettings) -> Source {
    let ranges = args.stand_ins.then(|| input::stand_in_ranges(&settings.node));
    input::source(&settings.node, &args.filenames, args.manifests).with_stand_ins(ranges)
}

/// Takes over the first state of the manifests; returns whether all of them could be used.
fn take_over(agent: &mut Agent, settings: &RunSettings, objects: Objects) -> bool {
    manifest::report(&objects.warnings, &objects.errors);
    if let Some(warning) = input::unknown_node(&settings.node.node_name, &objects.node_names) {
        warn!(error = warning, "The manifests have no Node of this name");
    }
    for object in objects.without_stand_in {
        warn!(object, "No address or node port is left for a stand-in");
    }
    if !objects.stand_ins.is_empty() {
        let (addresses, ports) = (objects.stand_ins.addresses.len(), objects.stand_ins.node_ports.len());
        warn!(addresses, ports, "Stand-ins are used for what a cluster would assign");
    }
    for (kind, count) in objects.ignored {
        debug!(%kind, count, "Objects of other kinds are ignored");
    }
    let Objects { services, slices, node, service_cidrs, completeness, .. } = objects;
    if let Some(lacking) = settings.node.lacks(node.as_deref().unwrap_or(&Node::default())) {
        warn!(error = lacking, "Node lacks what the configuration needs");
    }
    info!(services = services.len(), endpoint_slices = slices.len(), "Manifests read");
    agent.apply(services.into_iter().map(|(name, service)| Change::Service(name, Some(service))));
    agent.apply(slices.into_iter().map(|(name, slice)| Change::Slice(name, Some(slice))));
    let changes = vec![Change::Node(node), Change::ServiceCidrs(service_cidrs)];
    agent.update(Update { changes, completeness: Some(completeness), ..Update::default() });
    if !agent.is_ready() {
        error!("Nothing is programmed, and the kernel is left unchanged: the input is incomplete");
    } else if completeness == Completeness::Partial {
        warn!("Until all manifests can be used, nothing is removed that the kernel holds now");
    }
    completeness == Completeness::Whole
}

fn once(agent: &mut Agent, complete: bool) -> Ended {
    let mut waits = Retry::default();
    for attempt in 1.. {
        match agent.sync() {
            Ok(synced) => {
                if let Err(error) = agent.retire_all() {
                    warn!(%error, "Cannot remove unused objects; trying again");
                    continue;
                }
                match agent.quarantined() {
                    0 if complete => info!(
                        operations = synced.operations,
                        "In sync: the kernel holds what the manifests say"
                    ),
                    0 => warn!(
                        operations = synced.operations,
                        "Programmed what could be read; nothing was removed"
                    ),
                    quarantined => {
                        warn!(quarantined, "Programmed all but the Services that the kernel refuses");
                    }
                }
                agent.finish_flows();
                let used = complete && !agent.has_problems();
                return Ok(ExitCode::from(u8::from(!used)));
            }
            Err(error) if attempt == ONCE_ATTEMPTS || !is_transient(&error) => {
                CommandError::from(error).report();
                break;
            }
            Err(error) => warn!(%error, "Cannot program the kernel; trying again"),
        }
        std::thread::sleep(waits.wait());
    }
    Err(CommandError::Reported)
}

fn is_transient(error: &SyncError) -> bool {
    matches!(error, SyncError::Kernel(nftables::Error::Unknown(_) | nftables::Error::Io { .. }))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::config::options::{
        CLUSTER_CIDR, MASQUERADE_ALL, NODEPORT_ADDRESSES, OOM_SCORE_ADJ, VERBOSITY,
    };

    fn run(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let command = RunArgs::augment_args(clap::Command::new("run").args_override_self(true));
        RunArgs::from_arg_matches(&command.try_get_matches_from([&["run"], flags].concat())?)
    }

    #[test]
    fn switches_are_written_as_in_go() {
        let all = |flags: &[&str]| {
            run(flags).unwrap().options.0.get(&MASQUERADE_ALL).and_then(serde_json::Value::as_bool)
        };
        assert_eq!(all(&[]), None);
        assert_eq!(all(&["--masquerade-all"]), Some(true));
        for (text, value) in [("true", true), ("1", true), ("T", true), ("false", false), ("0", false)] {
            assert_eq!(all(&[&format!("--masquerade-all={text}")]), Some(value));
        }
        assert!(run(&["--masquerade-all=maybe"]).is_err());
    }

    #[test]
    fn of_a_repeated_flag_the_last_counts_and_lists_grow() {
        let args =
            run(&["--cluster-cidr=10.0.0.0/8", "--cluster-cidr", "172.16.0.0/12", "-v2", "--v=4"]).unwrap();
        assert_eq!(args.options.0.text(&CLUSTER_CIDR), "172.16.0.0/12");
        assert_eq!(args.options.0.number::<u32>(&VERBOSITY), 4);
        let args = run(&["--nodeport-addresses=10.0.0.0/8", "--nodeport-addresses=fd00::/8"]).unwrap();
        assert_eq!(args.options.0.list(&NODEPORT_ADDRESSES).collect::<Vec<_>>(), ["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(run(&["-f", "a", "-f", "b"]).unwrap().filenames.len(), 2);
    }

    #[test]
    fn negative_numbers_may_follow_a_blank() {
        for flags in [&["--oom-score-adj", "-998"][..], &["--oom-score-adj=-998"]] {
            assert_eq!(run(flags).unwrap().options.0.number::<i64>(&OOM_SCORE_ADJ), -998);
        }
    }

    #[test]
    fn manifests_take_the_place_of_an_api_server() {
        assert!(run(&["-f", "x", "--master", "https://192.0.2.1"]).is_err());
        assert!(run(&["-f", "x", "--kubeconfig", "y"]).is_err());
        assert!(run(&["--once"]).is_err());
        assert!(run(&["--once", "-f", "x"]).is_ok());
    }
}
