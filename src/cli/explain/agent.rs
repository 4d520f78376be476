//! The state of the agent that runs on this node.

use std::{
    collections::BTreeMap,
    io::Cursor,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use portolan_rules::{model::ObjectName, ruleset::Name};
use serde_json::Value;

use super::{Error, Ruleset, Scene, socket};
use crate::{
    cli::arguments::ViewArgs,
    config::settings::{Settings, socket_path},
    observe::{
        counts::Counted,
        query::{Snapshot, Wanted},
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
    /// What it holds, of what was asked for.
    pub snapshot: Snapshot,
    /// Where it was asked.
    pub socket: PathBuf,
    /// Whether it is in the network namespace of this process, so that its tables can be read here.
    pub is_here: bool,
}

/// The socket of the agent.
pub fn socket_of(given: Option<&Path>, settings: &Settings) -> PathBuf {
    given.map_or_else(|| socket_path(&settings.config.table), Path::to_owned)
}

/// The name of the tables.
pub fn table_of(args: &ViewArgs) -> Result<Name, Error> {
    Ok(Settings::new(&args.source.options.0)?.config.table)
}

/// The path that asks for what is wanted.
fn query(path: &str, wanted: &Wanted) -> String {
    let parameter = match wanted {
        Wanted::All => return path.to_owned(),
        Wanted::Namespace(namespace) => ("namespace", namespace.to_string()),
        Wanted::Service(name) => ("service", name.to_string()),
        Wanted::Frontend(to) => ("frontend", to.to_string()),
    };
    let start = format!("{path}?");
    let length = start.len();
    let mut query = form_urlencoded::Serializer::for_suffix(start, length);
    query.append_pair(parameter.0, &parameter.1).finish()
}

/// Asks the agent for the new connections of these Services; nothing where they are not counted.
pub fn counted(socket: &Path, wanted: &Wanted) -> Result<Option<Counted>, Error> {
    let text = socket::get(socket, &query("/connections", wanted))?;
    Ok(serde_json::from_slice(&text).map_err(Unreadable)?)
}

/// Asks the agent for its last commits, as [`History::to_json`](crate::observe::history::History::to_json) writes them.
pub fn commits(socket: &Path) -> Result<Value, Error> {
    Ok(serde_json::from_slice(&socket::get(socket, "/commits")?).map_err(Unreadable)?)
}

/// Asks the agent what it says of itself.
pub fn state(socket: &Path) -> Result<AgentState, Error> {
    // Nothing is at no address.
    let nothing = Wanted::Frontend(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    Ok(split(socket::get(socket, &query("/state", &nothing))?)?.0)
}

/// Asks the agent, and compiles what it holds of what is wanted.
pub fn read(socket: &Path, wanted: &Wanted) -> Result<Scene, Error> {
    let (agent, objects) = split(socket::get(socket, &query("/state", wanted))?)?;
    Ok(compile(agent, socket.to_owned(), objects))
}

/// The names of the Services that the agent at a socket holds.
pub fn names(socket: &Path) -> Result<Vec<ObjectName>, Error> {
    let (agent, objects) = split(socket::get(socket, &query("/state", &Wanted::All))?)?;
    Ok(Source::of_cluster("agent", Cursor::new(objects), &agent.node).load().services.into_keys().collect())
}

/// What the agent says of itself, and the text of its objects.
fn split(mut text: Vec<u8>) -> Result<(AgentState, Vec<u8>), Unreadable> {
    let mut line = serde_json::Deserializer::from_slice(&text).into_iter::<AgentState>();
    let agent = line.next().transpose()?.unwrap_or_default();
    let end = line.byte_offset();
    Ok((agent, text.split_off(end)))
}

/// Compiles what the agent holds with its own settings.
fn compile(agent: AgentState, socket: PathBuf, text: Vec<u8>) -> Scene {
    // What the agent left out is in its log.
    let Objects { services, slices, node, service_cidrs, completeness, .. } =
        Source::of_cluster("agent", Cursor::new(text), &agent.node).load();
    let snapshot = agent.snapshot(
        node.map(|node| (*node).clone()).unwrap_or_default(),
        service_cidrs,
        services.into_values().collect(),
        slices.into_values().collect(),
    );
    Scene {
        compiled: snapshot.compile(&Ruleset::default()),
        is_whole: completeness == Completeness::Whole,
        unusable: BTreeMap::new(),
        origin: origin(&agent),
        live: Some(Live {
            is_here: network_namespace().is_ok_and(|here| here == agent.network_namespace),
            state: agent,
            snapshot,
            socket,
        }),
        is_of_kernel: false,
    }
}

/// Which agent it is, and how old what it says is.
fn origin(agent: &AgentState) -> String {
    format!("from the agent on node {} (process {}), {}", agent.node, agent.pid, freshness(agent))
}

/// How old what an agent says is.
pub fn freshness(agent: &AgentState) -> String {
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
    format!("{synced}{news}")
}
