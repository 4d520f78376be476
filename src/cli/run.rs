//! `run`: keep the kernel equal to the cluster, or to manifests.

mod error;
mod follow;
mod setup;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use portolan_rules::{model::Node, ruleset::Family};
use tracing::{debug, error, info, warn};

use self::error::StartError;
use crate::{
    agent::{Agent, Ending, Event, SyncError, memory, queue, reconcile},
    api::Kind,
    cli::{arguments::RunArgs, input},
    config::settings::RunSettings,
    kernel::nftables,
    localhost,
    observe::{
        endpoint_counters,
        events::Recorder,
        health::Health,
        history::History,
        logging,
        metrics::Metrics,
        query::Asker,
        server::{self, ServerSettings},
    },
    retry::Retry,
    source::{
        Change, host,
        manifest::{self, Completeness, Objects, Source},
    },
};

/// How often `--once` tries.
const ONCE_ATTEMPTS: u32 = 5;

/// Runs the agent.
pub fn run(args: &RunArgs) -> ExitCode {
    memory::share_arenas();
    // Every problem with flags and files is found before anything is touched.
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => return super::output::fail(&error),
    };
    logging::start(settings.logging);
    match start(args, &settings) {
        Ok(code) => code,
        // Every line of a JSON log is JSON.
        Err(error) if settings.logging.is_json => {
            error!(%error, "Agent cannot start");
            ExitCode::FAILURE
        }
        Err(error) => super::output::fail(&error),
    }
}

fn start(args: &RunArgs, settings: &RunSettings) -> Result<ExitCode, StartError> {
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
        agent.remove_stale_flows(None).map_err(StartError::Runtime)?;
        let is_whole = take_over(&mut agent, settings, manifests(args, settings).load());
        return Ok(if agent.is_ready() { once(&mut agent, is_whole) } else { ExitCode::FAILURE });
    }
    let (events, inbox) = queue(health.clone());
    let servers = ServerSettings {
        node_name: settings.node.node_name.clone(),
        healthz: settings.healthz,
        metrics: settings.metrics,
        socket: settings.socket.clone(),
        bind_hard_fail: settings.bind_hard_fail,
        origin: settings.origin.clone(),
        features,
        config: settings.options.to_json(),
    };
    let stop = events.clone();
    let is_reading = Arc::new(AtomicBool::new(!args.filenames.is_empty()));
    let still_reading = Arc::clone(&is_reading);
    let is_counted =
        settings.node.config.endpoint_counters && (settings.metrics.is_some() || settings.socket.is_some());
    let counters = is_counted.then(|| {
        let table = settings.node.config.table.clone();
        endpoint_counters::follow(table, metrics.connections()).map_err(StartError::Runtime)
    });
    let counters = counters.transpose()?;
    let queries = events.clone();
    let asker = Asker::new(move |query| queries.send(Event::Query(query)).is_ok());
    let behind_socket = (history, asker, counters);
    let service_health =
        server::start(servers, health.clone(), metrics.clone(), recorder, behind_socket, move || {
            let _ = stop.send(Event::Stop(Ending::Asked));
            // Standard input may never end, and until it does the reconciler does not look.
            if still_reading.load(Ordering::SeqCst) {
                info!("Stopping before the manifests are read; the rules stay in place");
                std::process::exit(0);
            }
        })?;
    agent.serve_health_checks(service_health);
    if !on_localhost.is_empty() {
        agent.serve_localhost(localhost::start(on_localhost).map_err(StartError::Runtime)?);
    }
    host::watch(events.clone()).map_err(StartError::Addresses)?;
    agent.listen(events.clone())?;
    agent.remove_stale_flows(Some(events.clone())).map_err(StartError::Runtime)?;
    follow::follow(args, settings, events.clone())?;
    if let Some(cluster) = cluster {
        health.expect_news_of([Kind::Service, Kind::EndpointSlice]);
        cluster.start(health, &metrics, warnings, events)?;
    } else {
        let (watcher, objects) = manifests(args, settings).watch();
        take_over(&mut agent, settings, objects);
        if !agent.is_ready() && !watcher.can_change() {
            return Ok(ExitCode::FAILURE);
        }
        watcher.start(events, health).map_err(StartError::Runtime)?;
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
    let Objects {
        services,
        slices,
        node,
        service_cidrs,
        ignored,
        warnings,
        errors,
        completeness,
        is_path_missing: _,
        node_names,
        stand_ins,
        without_stand_in,
    } = objects;
    manifest::report(&warnings, &errors);
    if let Some(warning) = input::unknown_node(&settings.node.node_name, &node_names) {
        warn!(error = warning, "The manifests have no Node of this name");
    }
    for object in without_stand_in {
        warn!(object, "No stand-in is left");
    }
    if !stand_ins.is_empty() {
        let (addresses, ports) = (stand_ins.addresses.len(), stand_ins.node_ports.len());
        warn!(addresses, ports, "Stand-ins are used for what a cluster would assign");
    }
    for (kind, count) in ignored {
        debug!(%kind, count, "Objects of other kinds are ignored");
    }
    if let Some(lacking) = settings.node.lacks(node.as_deref().unwrap_or(&Node::default())) {
        warn!(err = lacking, "Node lacks what the configuration needs");
    }
    info!(services = services.len(), endpoint_slices = slices.len(), "Manifests read");
    agent.apply(services.into_iter().map(|(name, service)| Change::Service(name, Some(service))));
    agent.apply(slices.into_iter().map(|(name, slice)| Change::Slice(name, Some(slice))));
    let rest = [Change::Node(node), Change::ServiceCidrs(service_cidrs)];
    agent.apply_manifests(rest, Some(completeness));
    if !agent.is_ready() {
        error!(
            "Nothing is programmed, and the kernel stays as it is: too little is known of what to program"
        );
    } else if completeness == Completeness::Partial {
        warn!("Until all manifests can be used, nothing is removed that the kernel holds now");
    }
    completeness == Completeness::Whole
}

fn once(agent: &mut Agent, complete: bool) -> ExitCode {
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
                        "Programmed what could be read; nothing was taken away"
                    ),
                    quarantined => {
                        warn!(quarantined, "Programmed all but the Services that the kernel refuses");
                    }
                }
                agent.finish_flows();
                let used = complete && !agent.has_problems();
                return if used { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            Err(error) if attempt == ONCE_ATTEMPTS || !is_transient(&error) => {
                return super::output::fail(&error);
            }
            Err(error) => warn!(%error, "Cannot program the kernel; trying again"),
        }
        std::thread::sleep(waits.wait());
    }
    ExitCode::FAILURE
}

fn is_transient(error: &SyncError) -> bool {
    matches!(error, SyncError::Kernel(nftables::Error::Unknown(_) | nftables::Error::Io { .. }))
}
