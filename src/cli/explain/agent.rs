//! The state of the agent that runs on this node.

use std::{collections::BTreeMap, io::Cursor, path::PathBuf};

use ipnetwork::IpNetwork;
use jiff::Timestamp;
use portolan_rules::{
    compile::Compiler, explanation::Workloads, model::ObjectName, ruleset::Name, state::State,
};

use super::{Error, Host, Ruleset, Scene, host, socket};
use crate::{
    cli::arguments::ViewArgs,
    config::settings::{Settings, socket_path},
    observe::{
        query::Wanted,
        state_text::{AgentState, network_namespace},
    },
    source::manifest::{Completeness, Objects, Source},
};

/// The agent's answer begins with something else than its state.
#[derive(Debug, thiserror::Error)]
#[error("the agent's answer cannot be read (is it of another version?): {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// What is known of a running agent beside its objects.
#[derive(Debug)]
pub struct Live {
    /// What it says of itself.
    pub state: AgentState,
    /// The networks of ClusterIPs.
    pub service_cidrs: Vec<IpNetwork>,
    /// Where it was asked.
    pub socket: PathBuf,
    /// Whether it is in the network namespace of this process, so that its tables can be read here.
    pub is_here: bool,
}

/// The socket of the agent.
pub fn socket_of(args: &ViewArgs, settings: &Settings) -> PathBuf {
    args.socket.clone().unwrap_or_else(|| socket_path(&settings.config.table))
}

/// The name of the tables.
pub fn table_of(args: &ViewArgs) -> Result<Name, Error> {
    Ok(Settings::new(&args.options.0)?.config.table)
}

/// Asks for what is wanted.
fn query(wanted: &Wanted) -> String {
    let parameter = match wanted {
        Wanted::All => return "/state".to_owned(),
        Wanted::Namespace(namespace) => ("namespace", namespace.to_string()),
        Wanted::Service(name) => ("service", name.to_string()),
        Wanted::Frontend(to) => ("frontend", to.to_string()),
    };
    let mut query = form_urlencoded::Serializer::for_suffix("/state?".to_owned(), "/state?".len());
    query.append_pair(parameter.0, &parameter.1).finish()
}

/// Asks the agent, and compiles what it holds of what is wanted.
pub(super) fn read(args: &ViewArgs, settings: &Settings, wanted: &Wanted) -> Result<Scene, Error> {
    let socket = socket_of(args, settings);
    let text = socket::get(&socket, &query(wanted))?;
    let mut line = serde_json::Deserializer::from_slice(&text).into_iter::<AgentState>();
    let agent = line.next().transpose().map_err(Unreadable)?.unwrap_or_default();
    let objects = text.get(line.byte_offset()..).unwrap_or_default().to_vec();
    Ok(compile(agent, socket, objects))
}

/// Compiles what the agent holds with its own settings.
fn compile(agent: AgentState, socket: PathBuf, text: Vec<u8>) -> Scene {
    // What the agent left out is in its log.
    let Objects { services, slices, node, service_cidrs, completeness, .. } =
        Source::of_cluster("agent", Cursor::new(text), &agent.node).load();
    let mut state = State::new(node.map(|node| (*node).clone()).unwrap_or_default());
    state.replace_services(services.into_iter().collect());
    state.replace_slices(slices.into_iter().collect());
    for (name, _) in &agent.quarantined {
        if let Some((namespace, name)) = name.split_once('/') {
            state.quarantine(&ObjectName::new(namespace, name), true);
        }
    }
    let mut compiler = compiler(&agent, &mut state, &service_cidrs);
    compiler.load(&mut state, &Ruleset::default());
    let host: Host = host(&state, &compiler);
    Scene {
        ruleset: compiler.ruleset(),
        host,
        state,
        compiler,
        workloads: Workloads::default(),
        is_whole: completeness == Completeness::Whole,
        unusable: BTreeMap::new(),
        origin: origin(&agent),
        live: Some(Live {
            is_here: network_namespace().is_ok_and(|here| here == agent.network_namespace),
            state: agent,
            service_cidrs,
            socket,
        }),
        is_of_kernel: false,
    }
}

/// A compiler with the agent's settings, which has compiled nothing yet.
pub(super) fn compiler(agent: &AgentState, state: &mut State, service_cidrs: &[IpNetwork]) -> Compiler {
    let mut compiler = Compiler::new(agent.config());
    compiler.set_node_addresses(&agent.node_port_addresses.iter().copied().collect());
    compiler.set_node_ips(state, agent.node_ips.clone());
    compiler.set_service_cidrs(state, service_cidrs);
    compiler
}

/// Which agent it is, and how old what it says is.
fn origin(agent: &AgentState) -> String {
    let since = |time: &Option<String>| {
        let (time, now) = (time.as_deref()?.parse().ok()?, agent.now.parse::<Timestamp>().ok()?);
        Some(now.duration_since(time).unsigned_abs())
    };
    let synced = match (&agent.synced, agent.waiting_seconds) {
        (None, _) => "the kernel was not programmed yet".to_owned(),
        (_, Some(waiting)) => format!("a change has waited for {waiting:.1} s"),
        (Some(_), None) => {
            let ago = since(&agent.synced).unwrap_or_default().as_secs();
            format!("in sync since {ago} s")
        }
    };
    let oldest = agent
        .ages
        .iter()
        .filter_map(|(_, age)| *age)
        .fold(None, |oldest: Option<f64>, age| Some(oldest.map_or(age, |oldest| oldest.max(age))));
    let news = oldest.map(|age| format!(", last news of the API server {age:.0} s ago")).unwrap_or_default();
    format!("from the agent on node {} (process {}), {synced}{news}", agent.node, agent.pid)
}
