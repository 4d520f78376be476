//! The state of the agent that runs on this node.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portolan_rules::{model::ObjectName, ruleset::Ruleset};
use serde_json::Value;

use super::{
    scene::{Live, Scene},
    socket::{self, AgentError},
};
use crate::{
    config::settings::{Settings, socket_path},
    observe::{
        agent_state::{AgentState, network_namespace},
        counts::Counted,
        query::{Snapshot, Wanted},
        state_values,
    },
};

/// Returns the path of the agent's socket: the given one, or the default for the table.
pub fn socket_of(given: Option<&Path>, settings: &Settings) -> PathBuf {
    given.map_or_else(|| socket_path(&settings.config.table), Path::to_owned)
}

/// Returns the path, with the query for what is wanted.
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

/// Asks the agent for the new connections of these Services. Returns `None` if they are not counted.
pub fn counted(socket: &Path, wanted: &Wanted) -> Result<Option<Counted>, AgentError> {
    Ok(serde_json::from_slice(&socket::get(socket, &query("/connections", wanted))?)?)
}

/// Asks the agent for its last commits, as [`History::to_json`](crate::observe::history::History::to_json) writes them.
pub fn commits(socket: &Path) -> Result<Value, AgentError> {
    Ok(serde_json::from_slice(&socket::get(socket, "/commits")?)?)
}

/// Asks the agent for its own state.
pub fn state(socket: &Path) -> Result<AgentState, AgentError> {
    Ok(held(socket, &Wanted::NOTHING)?.0)
}

/// Asks the agent for what is wanted, and compiles it with the agent's settings.
pub fn read(socket: &Path, wanted: &Wanted) -> Result<Scene, AgentError> {
    let (state, snapshot) = held(socket, wanted)?;
    let scene = Scene::new(snapshot.compile(&Ruleset::default()), origin(&state));
    let is_here = network_namespace().is_ok_and(|here| here == state.network_namespace);
    Ok(Scene { live: Some(Live { state, snapshot, socket: socket.to_owned(), is_here }), ..scene })
}

/// Returns the names of the Services that the agent at a socket holds.
pub fn names(socket: &Path) -> Result<Vec<ObjectName>, AgentError> {
    let (_, snapshot) = held(socket, &Wanted::All)?;
    let mut names: Vec<ObjectName> = snapshot.services.iter().map(|service| service.name.clone()).collect();
    names.sort();
    Ok(names)
}

/// Asks the agent for its own state, and for what it holds of what is wanted.
fn held(socket: &Path, wanted: &Wanted) -> Result<(AgentState, Snapshot), AgentError> {
    Ok(state_values::read(socket::ask(socket, &query("/snapshot", wanted))?)?)
}

/// Describes which agent the state comes from, and how old the state is.
fn origin(agent: &AgentState) -> String {
    format!("from the agent on node {} (process {}), {}", agent.node, agent.pid, freshness(agent))
}

/// Describes how old the state of an agent is.
pub fn freshness(agent: &AgentState) -> String {
    let synced = match (&agent.synced, agent.waiting_seconds) {
        (None, _) => "the kernel has not been programmed yet".to_owned(),
        (_, Some(waiting)) => format!("a change has waited for {waiting:.1} s"),
        (Some(synced), None) => {
            let since = |now: Timestamp| Some(now.duration_since(synced.parse().ok()?).unsigned_abs());
            let ago = agent.now.parse().ok().and_then(since).unwrap_or_default();
            format!("in sync since {} s", ago.as_secs())
        }
    };
    let oldest = agent.ages.iter().filter_map(|(_, age)| *age).reduce(f64::max);
    let news =
        oldest.map(|age| format!(", its news of the API server at most {age:.0} s old")).unwrap_or_default();
    format!("{synced}{news}")
}
