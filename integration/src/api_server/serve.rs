//! Requests and their responses.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::State,
    http::{
        self, HeaderMap, StatusCode, Uri,
        header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use portolan::api::protobuf::MEDIA_TYPE;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Fault, Reply, Request, Resource, Verb,
    access::{self, Denied},
    events::Events,
    fault::Faults,
    list::{self, GZIP},
    query::{self, ListOptions, Target},
    status::Refusal,
    store::{Key, Page, Store},
    watch::watch,
};
use crate::wire::Wire;

/// How often held requests are checked.
const HELD: Duration = Duration::from_millis(10);
/// The user that clients without credentials are taken for.
const ANONYMOUS: &str = "system:anonymous";
/// The user that all other clients are taken for.
const USER: &str = "system:node:n1";
/// The media type of JSON patches (RFC 6902).
const JSON_PATCH: &str = "application/json-patch+json";
/// The maximum length of a body.
const BODY: usize = 1 << 20;

/// The state of the server, shared between the test and the handlers.
pub(super) struct Shared {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Request>>,
    events: Mutex<Events>,
    /// The resources whose requests are answered with prepared replies, and then not at all.
    replies: Mutex<BTreeMap<Resource, Prepared>>,
    denied: Mutex<Denied>,
    /// Completes objects that clients create.
    assign: Mutex<Option<Assign>>,
    token: Mutex<String>,
    bookmarks: Mutex<u64>,
    last_list: Mutex<Option<Instant>>,
    /// Counts what was sent.
    pub wire: Arc<Wire>,
    /// How often a watch gets a bookmark.
    pub bookmark_period: Duration,
    /// Changes whenever watches should check for news.
    signal: watch::Sender<u64>,
}

/// Completes an object that a client creates.
pub(super) type Assign = Box<dyn Fn(&mut Value) + Send>;

/// Responses that a test has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub next: VecDeque<Reply>,
    /// The response to a list of exactly one version.
    pub exact: Option<Reply>,
}

impl Shared {
    pub fn new(token: &str, bookmark_period: Duration) -> Self {
        Self {
            store: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
            events: Mutex::default(),
            replies: Mutex::default(),
            denied: Mutex::default(),
            assign: Mutex::default(),
            token: Mutex::new(token.into()),
            bookmarks: Mutex::default(),
            last_list: Mutex::default(),
            wire: Arc::default(),
            bookmark_period,
            signal: watch::Sender::new(0),
        }
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub fn requests(&self) -> MutexGuard<'_, Vec<Request>> {
        lock(&self.requests)
    }

    pub fn events(&self) -> MutexGuard<'_, Events> {
        lock(&self.events)
    }

    pub fn token(&self) -> MutexGuard<'_, String> {
        lock(&self.token)
    }

    pub fn replies(&self) -> MutexGuard<'_, BTreeMap<Resource, Prepared>> {
        lock(&self.replies)
    }

    pub fn denied(&self) -> MutexGuard<'_, Denied> {
        lock(&self.denied)
    }

    pub fn assign(&self) -> MutexGuard<'_, Option<Assign>> {
        lock(&self.assign)
    }

    /// How many bookmarks the test has requested.
    pub fn bookmarks(&self) -> u64 {
        *lock(&self.bookmarks)
    }

    pub fn ask_for_bookmarks(&self) {
        *lock(&self.bookmarks) += 1;
        self.wake();
    }

    /// Notes that a list was sent completely.
    pub fn listed(&self) {
        *lock(&self.last_list) = Some(Instant::now());
    }

    pub fn last_list(&self) -> Option<Instant> {
        *lock(&self.last_list)
    }

    pub fn signal(&self) -> watch::Receiver<u64> {
        self.signal.subscribe()
    }

    /// Wakes all watches, so that they check for news.
    pub fn wake(&self) {
        self.signal.send_modify(|count| *count += 1);
    }
}

/// Ignores poisoning: a test that failed while it held a lock must not make others fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request.
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: http::Request<Body>) -> Response {
    let accepted = request.headers().get(ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    let is_protobuf = accepted.starts_with(MEDIA_TYPE) && !shared.faults().lacks.protobuf;
    match serve(&shared, request, is_protobuf).await {
        Ok(response) => response,
        Err(refusal) if is_protobuf => refusal.into_protobuf(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn serve(
    shared: &Arc<Shared>,
    request: http::Request<Body>,
    is_protobuf: bool,
) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let query = query::parameters(&parts.uri);
    let user = authenticate(shared, &parts.headers)?;
    let accepts = |kinds: &str| kinds.contains("json") || kinds.contains("*/*");
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let accepted = parts.headers.get(ACCEPT).and_then(|kinds| kinds.to_str().ok());
    if accepted.is_some_and(|kinds| !accepts(kinds) && !is_protobuf) {
        return Err(Refusal::not_acceptable());
    }
    if parts.uri.path() == access::PATH && parts.method == http::Method::POST {
        let review = read(body).await?;
        let review = access::review(&shared.denied(), review);
        return Ok((StatusCode::CREATED, Json(review)).into_response());
    }
    let Some(target) = Target::parse(parts.uri.path()) else {
        return nowhere(user, &parts.uri, &query);
    };
    let unknown = || Refusal::new(405, "the server does not allow this method on the requested resource");
    let verb = target.verb(&parts.method, &query).ok_or_else(unknown)?;
    let encodings = parts.headers.get(ACCEPT_ENCODING).and_then(|encodings| encodings.to_str().ok());
    let takes_gzip = encodings.is_some_and(|encodings| encodings.contains(GZIP));
    let request =
        Request { at: Instant::now(), verb, resource: target.resource, query, is_protobuf, takes_gzip };
    shared.requests().push(request.clone());
    if user == ANONYMOUS {
        let resource = target.resource.map_or("events", Resource::name);
        return Err(Refusal::forbidden(user, if verb == Verb::Watch { "watch" } else { "list" }, resource));
    }
    // Where replies are prepared, a list of one exact version without a reply of its own is answered with 410.
    let is_exact = request.query.get("resourceVersionMatch").is_some_and(|matching| matching == "Exact");
    let reply = target.resource.and_then(|resource| {
        let mut replies = shared.replies();
        let prepared = replies.get_mut(&resource)?;
        let forgotten = || Reply::refuse(&expired().status());
        Some(if is_exact {
            Some(prepared.exact.take().unwrap_or_else(forgotten))
        } else {
            prepared.next.pop_front()
        })
    });
    match reply {
        None => {}
        Some(Some(reply)) => return Ok(reply.into_response()),
        Some(None) => std::future::pending().await,
    }
    let fault = shared.faults().meet(&request);
    match fault {
        None => {}
        Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Hold) => {
            while shared.faults().is_holding() {
                tokio::time::sleep(HELD).await;
            }
        }
        Some(Fault::Gateway(code)) => {
            let page = format!("<html><body><h1>{code}</h1>No server is available.</body></html>\n");
            return Ok(Reply::text(page).with_status(code).into_response());
        }
        Some(Fault::Refuse(code, retry_after)) => {
            return Err(Refusal::new(code, "refused by the test").retry_after(retry_after));
        }
    }
    let mut document = Value::Null;
    if matches!(verb, Verb::Create | Verb::Patch) {
        document = read(body).await?;
    }
    let Some(resource) = target.resource else {
        return write_event(shared, target, document);
    };
    if let Some(name) = target.name {
        let key = (resource, target.namespace.unwrap_or_default(), name);
        let missing = || Refusal::new(404, format!("{} {:?} not found", resource.name(), key.2));
        if verb == Verb::Patch && kind == Some(JSON_PATCH) {
            let patched = patch(&mut shared.store(), &key, document);
            shared.wake();
            return patched.map(IntoResponse::into_response);
        }
        if verb == Verb::Patch {
            let stored = apply(&mut shared.store(), &key, document, parts.uri.path().ends_with("/status"));
            shared.wake();
            return stored.map(IntoResponse::into_response);
        }
        if verb == Verb::Delete {
            if resource == Resource::Namespaces {
                shared.store().empty(&key.2);
            }
            let deleted = shared.store().delete(&key);
            shared.wake();
            return if deleted {
                Ok(Json(json!({"kind": "Status", "status": "Success"})).into_response())
            } else {
                Err(missing())
            };
        }
        return shared.store().get(&key).map(|object| Json(&***object).into_response()).ok_or_else(missing);
    }
    if verb == Verb::Create {
        let created = create(shared, resource, target.namespace, document);
        shared.wake();
        return created.map(|object| (StatusCode::CREATED, object).into_response());
    }
    let options = ListOptions::parse(&request, resource, target.namespace)?;
    match verb {
        Verb::Watch => watch(shared, options),
        _ => list(shared, &options, takes_gzip),
    }
}

/// Stores a new object, completed by the test.
fn create(
    shared: &Shared,
    resource: Resource,
    namespace: Option<String>,
    mut object: Value,
) -> Result<Json<Value>, Refusal> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if Resource::of(&object) != Some(resource) || name.is_empty() {
        return Err(Refusal::new(400, "the object is not one of the URL"));
    }
    let key = (resource, namespace.unwrap_or_default(), name);
    if resource.is_namespaced() {
        object["metadata"]["namespace"] = key.1.as_str().into();
    }
    if let Some(assign) = &*shared.assign() {
        assign(&mut object);
    }
    let mut store = shared.store();
    if store.get(&key).is_some() {
        return Err(Refusal::new(409, format!("{} {:?} already exists", resource.name(), key.2)));
    }
    store.put(object);
    Ok(Json(store.get(&key).map_or(Value::Null, |stored| Value::clone(stored))))
}

/// The document that a client sent.
async fn read(body: Body) -> Result<Value, Refusal> {
    let body = to_bytes(body, BODY).await.map_err(|error| Refusal::new(400, error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| Refusal::new(400, error.to_string()))
}

/// The user that the client is taken for.
fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<&'static str, Refusal> {
    let expected = format!("Bearer {}", shared.token());
    match headers.get(AUTHORIZATION) {
        None => Ok(ANONYMOUS),
        Some(given) if given == expected.as_str() => Ok(USER),
        Some(_) => Err(Refusal::new(401, "Unauthorized")),
    }
}

/// Answers requests for unknown paths: with a `Status` only if their group exists.
fn nowhere(user: &str, uri: &Uri, query: &BTreeMap<String, String>) -> Result<Response, Refusal> {
    if uri.path() == "/api/v1/secrets" {
        let verb = if query.contains_key("watch") { "watch" } else { "list" };
        return Err(Refusal::forbidden(user, verb, "secrets"));
    }
    let is_group = |version: &str| {
        let group = if version == "v1" { "/api/v1/".to_owned() } else { format!("/apis/{version}/") };
        uri.path().starts_with(&group)
    };
    if Resource::ALL.into_iter().any(|known| is_group(known.version())) {
        return Err(Refusal::unknown_resource());
    }
    Ok((StatusCode::NOT_FOUND, "404 page not found\n").into_response())
}

/// Stores an object as given, but keeps its stored status; or stores only its status.
fn apply(store: &mut Store, key: &Key, object: Value, is_status: bool) -> Result<Json<Value>, Refusal> {
    // A merge patch of the status need not contain the object's name.
    let names_it = Resource::of(&object) == Some(key.0) && object["metadata"]["name"] == key.2;
    if !(names_it || is_status && object["metadata"].is_null()) {
        return Err(Refusal::new(400, "the object is not the one of the URL"));
    }
    let known = store.get(key).map(|known| Value::clone(known));
    let mut object = object;
    if is_status {
        let status = object["status"].take();
        object = known.ok_or_else(|| Refusal::new(404, format!("{:?} not found", key.2)))?;
        object["status"] = status;
    } else {
        object.as_object_mut().and_then(|fields| fields.remove("status"));
        if let Some(status) = known.map(|known| known["status"].clone()).filter(|status| !status.is_null()) {
            object["status"] = status;
        }
    }
    store.put(object);
    Ok(Json(store.get(key).map_or(Value::Null, |stored| Value::clone(stored))))
}

/// Changes an object by a JSON patch: completely, or not at all if a test in the patch fails.
fn patch(store: &mut Store, key: &Key, document: Value) -> Result<Json<Value>, Refusal> {
    let invalid = |problem: String| Refusal::new(422, problem);
    let operations: json_patch::Patch =
        serde_json::from_value(document).map_err(|error| Refusal::new(400, error.to_string()))?;
    let known = store.get(key).map(|known| Value::clone(known));
    let mut object = known.ok_or_else(|| Refusal::new(404, format!("{:?} not found", key.2)))?;
    json_patch::patch(&mut object, &operations).map_err(|error| invalid(error.to_string()))?;
    store.put(object);
    Ok(Json(store.get(key).map_or(Value::Null, |stored| Value::clone(stored))))
}

fn write_event(shared: &Shared, target: Target, body: Value) -> Result<Response, Refusal> {
    let namespace = target.namespace.unwrap_or_default();
    let mut events = shared.events();
    Ok(match target.name {
        None => (StatusCode::CREATED, Json(events.create(&namespace, body)?)).into_response(),
        Some(name) => Json(events.patch(&namespace, &name, &body)?).into_response(),
    })
}

fn list(shared: &Shared, options: &ListOptions, takes_gzip: bool) -> Result<Response, Refusal> {
    let mut store = shared.store();
    let newest = store.version();
    if let Some(version) = options.version.filter(|version| *version > newest) {
        return Err(Refusal::too_large(version, newest));
    }
    let mut start = None;
    if let Some(version) = options.version.filter(|_| options.exact) {
        store.keep(version).map_err(|_| expired())?;
        start = Some((version, (options.resource, String::new(), String::new())));
    }
    let limit = options.limit.filter(|_| !options.from_cache || shared.faults().lacks.watch_cache);
    let continued =
        options.continued.as_deref().map(|token| read_token(options.resource, token)).transpose()?;
    let page = page(&mut store, options, continued.or(start), limit.unwrap_or(usize::MAX))?;
    drop(store);
    if page.next.is_none() {
        shared.listed();
    }
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if let Some(next) = &page.next {
        metadata["continue"] = write_token(page.version, next).into();
        if options.selector.is_everything() {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    let is_compressed = takes_gzip && !shared.faults().lacks.compression;
    Ok(list::respond((options.resource, options.encoding), &metadata, page.items, is_compressed))
}

fn expired() -> Refusal {
    Refusal::gone("The resourceVersion for the provided list is too old.")
}

/// Whether a list or watch includes an object.
pub(super) fn is_wanted(options: &ListOptions, object: &Value) -> bool {
    options.namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == **namespace)
        && options.selector.matches(object)
}

/// A part of a list.
pub(super) fn page(
    store: &mut Store,
    options: &ListOptions,
    continued: Option<(u64, Key)>,
    limit: usize,
) -> Result<Page, Refusal> {
    let expired = "The provided continue parameter is too old to display a consistent list result. You can \
                   start a new list without the continue parameter.";
    store
        .list(options.resource, continued, limit, |object| is_wanted(options, object))
        .map_err(|_| Refusal::gone(expired))
}

fn write_token(version: u64, next: &Key) -> String {
    format!("{version}/{}/{}", next.1, next.2)
}

fn read_token(resource: Resource, token: &str) -> Result<(u64, Key), Refusal> {
    let mut parts = token.splitn(3, '/');
    let version = parts.next().and_then(|version| version.parse().ok());
    match (version, parts.next(), parts.next()) {
        (Some(version), Some(namespace), Some(name)) => {
            Ok((version, (resource, namespace.into(), name.into())))
        }
        _ => Err(Refusal::new(400, "continue key is not valid")),
    }
}
