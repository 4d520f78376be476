//! The Unix socket for commands on this node, which serves the agent's state. Only its owner can connect.

use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use portolan_rules::model::ObjectName;
use rustix::{
    fs::{Mode, fchmod},
    process::geteuid,
};
use serde_json::Value;
use tokio::{
    net::{UnixListener, UnixSocket, UnixStream},
    time::sleep,
};
use tracing::{info, warn};

use super::{
    listen::{self, Limit},
    metrics,
    shared::Shared,
};
use crate::{
    config::settings::SOCKET_DIRECTORY,
    observe::{
        agent_state::AgentState,
        counts::Counted,
        query::{Unanswered, Wanted},
        state_text::{Format, parts},
    },
    retry::BIND_RETRY,
};

/// Most connections at a time.
const CONNECTIONS: usize = 8;

/// How long a connection may last: one request and its response.
const LONGEST: Duration = Duration::from_secs(30);

/// Most connections that wait to be accepted.
const BACKLOG: u32 = 16;

/// The routes: those of the metrics server, and those for root only.
pub(super) fn router(shared: &Shared) -> Router {
    let held = |format| get(move |State(shared): State<Shared>, uri: Uri| held(shared, uri, format));
    let own = Router::new()
        .route("/state", held(Format::Manifest))
        .route("/snapshot", held(Format::Values))
        .route("/commits", get(commits))
        .route("/connections", get(connections));
    own.with_state(shared.clone()).merge(metrics::router(shared))
}

/// Serves until the runtime ends. Retries while another agent uses the socket, or the socket cannot be created.
pub async fn serve(path: PathBuf, router: Router) {
    let mut problem = None;
    let listener = loop {
        match open(&path).await {
            Ok(listener) => break listener,
            Err(error) => {
                let error = error.to_string();
                if problem.as_ref() != Some(&error) {
                    let retry = BIND_RETRY;
                    warn!(error, path = %path.display(), ?retry, "Commands on this node cannot query the agent; trying again");
                    problem = Some(error);
                }
            }
        }
        sleep(BIND_RETRY).await;
    };
    info!(path = %path.display(), "Server listens for commands on this node");
    listen::serve(listener, Limit::new(CONNECTIONS).for_one_request(LONGEST), router).await;
}

/// Creates the socket and replaces one that an earlier agent left behind.
async fn open(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent().filter(|parent| *parent == Path::new(SOCKET_DIRECTORY)) {
        make_directory(parent)?;
    }
    match UnixStream::connect(path).await {
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent is using the socket")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixSocket::new_stream()?;
    // The file gets the mode of the socket, so there is no moment at which other users could connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(path)?;
    socket.listen(BACKLOG)
}

/// Creates the directory, for its owner only.
fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
        let message = format!("{} is not a directory owned by this user", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The response when a request is refused.
type Refusal = (StatusCode, String);

/// Which Services the parameters of `/state` and `/snapshot` ask for: `service=NAMESPACE/NAME`, `namespace=NAME`, or
/// `frontend=ADDRESS:PORT`; all Services without parameters.
fn wanted(uri: &Uri) -> Result<Wanted, Refusal> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let Some((key, value)) = form_urlencoded::parse(query).next() else { return Ok(Wanted::All) };
    let wanted = match &*key {
        "service" => {
            let name = value.split_once('/').ok_or("service: expected NAMESPACE/NAME");
            name.map(|(namespace, name)| Wanted::Service(ObjectName::new(namespace, name)))
        }
        "namespace" => Ok(Wanted::Namespace((&*value).into())),
        "frontend" => value.parse().map(Wanted::Frontend).map_err(|_| "frontend: expected ADDRESS:PORT"),
        _ => Err("expected service, namespace or frontend"),
    };
    wanted.map_err(|message| (StatusCode::BAD_REQUEST, message.to_owned()))
}

/// Responds with the agent's state.
async fn held(shared: Shared, uri: Uri, format: Format) -> Result<Response, Refusal> {
    let busy = |error: Unanswered| (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
    let snapshot = shared.asker.ask(wanted(&uri)?).await.map_err(busy)?;
    let report = shared.health.report();
    let ages = report.ages.iter();
    let state = AgentState {
        now: report.now.to_string(),
        synced: report.synced.map(|synced| synced.to_string()),
        waiting_seconds: report.waiting.map(|waiting| waiting.as_secs_f64()),
        unready: report.unready_reasons(),
        ages: ages.map(|(kind, age)| (kind.to_string(), age.map(|age| age.as_secs_f64()))).collect(),
        ..AgentState::of(&snapshot)
    };
    let parts = parts(format, &state, snapshot).map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures_util::stream::iter(parts));
    let kind = match format {
        Format::Manifest => "application/json",
        Format::Values => "application/vnd.msgpack",
    };
    Ok(([(CONTENT_TYPE, kind)], body).into_response())
}

/// New connections of each endpoint of the Services that the parameters ask for; null if they are not counted.
async fn connections(State(shared): State<Shared>, uri: Uri) -> Result<Json<Option<Counted>>, Refusal> {
    let wanted = wanted(&uri)?;
    let Some(counters) = shared.counters else { return Ok(Json(None)) };
    // Reading may take the kernel a third of a second.
    let read = tokio::task::spawn_blocking(move || counters.read().only(&wanted)).await;
    Ok(Json(read.ok()))
}

/// The last commits.
async fn commits(State(shared): State<Shared>) -> Json<Value> {
    Json(shared.history.to_json())
}
