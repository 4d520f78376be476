//! The state of the agent that runs on this node.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use portolan_rules::{
    model::ObjectName,
    ruleset::{Name, Ruleset},
};
use serde_json::Value;

use super::{
    error::{Error, Unreadable},
    scene::{Live, Scene},
    socket,
};
use crate::{
    cli::arguments::ViewArgs,
    config::settings::{Settings, socket_path},
    observe::{
        agent_state::{AgentState, network_namespace},
        counts::Counted,
        query::{Snapshot, Wanted},
        state_values,
    },
};

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
    Ok(serde_json::from_slice(&text).map_err(Unreadable::from)?)
}

/// Asks the agent for its last commits, as [`History::to_json`](crate::observe::history::History::to_json) writes them.
pub fn commits(socket: &Path) -> Result<Value, Error> {
    Ok(serde_json::from_slice(&socket::get(socket, "/commits")?).map_err(Unreadable::from)?)
}

/// Asks the agent what it says of itself.
pub fn state(socket: &Path) -> Result<AgentState, Error> {
    // Nothing is at no address.
    let nothing = Wanted::Frontend(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    Ok(held(socket, &nothing)?.0)
}

/// Asks the agent, and compiles what it holds of what is wanted, with its own settings.
pub fn read(socket: &Path, wanted: &Wanted) -> Result<Scene, Error> {
    let (state, snapshot) = held(socket, wanted)?;
    Ok(Scene {
        compiled: snapshot.compile(&Ruleset::default()),
        is_whole: true,
        unusable: BTreeMap::new(),
        origin: origin(&state),
        live: Some(Live {
            is_here: network_namespace().is_ok_and(|here| here == state.network_namespace),
            state,
            snapshot,
            socket: socket.to_owned(),
        }),
        is_of_kernel: false,
    })
}

/// The names of the Services that the agent at a socket holds.
pub fn names(socket: &Path) -> Result<Vec<ObjectName>, Error> {
    let (_, snapshot) = held(socket, &Wanted::All)?;
    let mut names: Vec<ObjectName> = snapshot.services.iter().map(|service| service.name.clone()).collect();
    names.sort();
    Ok(names)
}

/// What the agent says of itself, and what it holds.
fn held(socket: &Path, wanted: &Wanted) -> Result<(AgentState, Snapshot), Error> {
    let answer = socket::ask(socket, &query("/snapshot", wanted))?;
    Ok(state_values::read(answer).map_err(Unreadable::from)?)
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
    let news =
        oldest.map(|age| format!(", its news of the API server at most {age:.0} s old")).unwrap_or_default();
    format!("{synced}{news}")
}
