//! A test API server: the part of the Kubernetes API that a node agent uses, with faults on demand.
//!
//! It follows the API's documentation ("Kubernetes API Concepts" and the reference of `ListOptions`): lists
//! with `limit` and `continue`, watches from a `resourceVersion`, bookmarks, streaming lists
//! (`sendInitialEvents`), status 410 for forgotten versions, selectors, TLS and bearer tokens. Tests change the
//! objects and specify what goes wrong. The server runs on a thread of its own, on a socket that was opened
//! in a namespace of the lab.

mod access;
mod events;
mod fault;
mod list;
mod object;
mod protobuf;
mod query;
mod reply;
mod resource;
mod selector;
mod serve;
mod status;
mod store;
mod tls;
mod watch;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::Router;
use serde_json::{Value, json};
use socket2::{Domain, Type};
use tokio::sync::oneshot;

pub use self::{
    fault::{EventFaults, Fault, Request, Rule, Verb},
    reply::{Feed, Reply},
    resource::Resource,
};
use self::{
    serve::Shared,
    tls::{ClientIdentity, Identity, TlsListener},
};
use crate::{LabError, Namespace, wire::Wire};

/// The token that clients must present, until a test sets another.
const TOKEN: &str = "token-of-the-test";
/// How often a watch gets a bookmark; about as often as from a real server.
const BOOKMARKS: Duration = Duration::from_mins(1);

/// The name of the thread that serves.
pub const THREAD: &str = "api-server";

/// A test API server. Dropping it stops it.
pub struct ApiServer {
    shared: Arc<Shared>,
    identity: Identity,
    namespace: Namespace,
    address: SocketAddr,
    listener: Option<TcpListener>,
    serving: Option<Serving>,
    /// Servers that accept no more connections, but still serve their existing ones.
    retired: Vec<Serving>,
    files: tempfile::TempDir,
}

/// The thread that serves, and the channels that end it.
struct Serving {
    stop: oneshot::Sender<()>,
    retire: Option<oneshot::Sender<()>>,
    thread: JoinHandle<()>,
}

/// The objects and their versions at one moment, as in a backup of etcd.
#[derive(Debug, Clone)]
pub struct Backup(store::Store);

/// What is wrong with a kubeconfig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Its token is not the server's.
    Token,
    /// Its authority has not signed the server's certificate.
    Authority,
}

impl ApiServer {
    /// Starts a server without objects, in a namespace, at one of its addresses.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self, LabError> {
        Self::with_bookmarks(namespace, address, BOOKMARKS)
    }

    /// Starts a server that sends each watch a bookmark this often.
    pub fn with_bookmarks(
        namespace: &Namespace,
        address: SocketAddr,
        period: Duration,
    ) -> Result<Self, LabError> {
        let files = tempfile::tempdir().map_err(LabError::io("make a directory for a kubeconfig"))?;
        let identity = Identity::new(address.ip()).map_err(LabError::io("make certificates"))?;
        let mut server = Self {
            shared: Arc::new(Shared::new(TOKEN, period)),
            identity,
            namespace: namespace.clone(),
            address,
            listener: None,
            serving: None,
            retired: Vec::new(),
            files,
        };
        server.write_kubeconfig("kubeconfig", &server.identity.authority, TOKEN, None)?;
        server.resume()?;
        Ok(server)
    }

    /// From now on, reviews of the client's permissions report that it may not use this verb on a resource:
    /// `("list", "nodes")`. Its requests are answered nevertheless.
    pub fn deny(&self, verb: &str, resource: &str) {
        self.shared.denied().insert((verb.into(), resource.into()));
    }

    /// Completes the objects that clients create from now on, as a real server gives addresses to Services.
    pub fn assign(&self, assign: impl Fn(&mut Value) + Send + 'static) {
        *self.shared.assign() = Some(Box::new(assign));
    }

    /// The namespace of the server.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A kubeconfig like the one that kubeadm gives kube-proxy: authority and token are in files next to it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.path().join("kubeconfig")
    }

    /// A kubeconfig that does not work.
    pub fn wrong_kubeconfig(&self, wrong: Wrong) -> Result<PathBuf, LabError> {
        match wrong {
            Wrong::Token => self.write_kubeconfig("wrong-token", &self.identity.authority, "guessed", None),
            Wrong::Authority => {
                let authority = tls::foreign_authority().map_err(LabError::io("make an authority"))?;
                self.write_kubeconfig("wrong-authority", &authority, TOKEN, None)
            }
        }
    }

    fn write_kubeconfig(
        &self,
        name: &str,
        authority: &str,
        token: &str,
        client: Option<ClientIdentity>,
    ) -> Result<PathBuf, LabError> {
        let place = self.files.path();
        let file = |extension: &str| format!("{name}.{extension}");
        let mut user = json!({"tokenFile": place.join(file("token"))});
        if client.is_some() {
            user["client-certificate"] = json!(place.join(file("client.crt")));
            user["client-key"] = json!(place.join(file("client.key")));
        }
        let text = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "default", "cluster": {
                "certificate-authority": place.join(file("crt")),
                "server": format!("https://{}", self.address),
            }}],
            "contexts": [{"name": "default", "context":
                {"cluster": "default", "namespace": "default", "user": "default"}}],
            "current-context": "default",
            "users": [{"name": "default", "user": user}],
        });
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).map_err(LabError::io(format!("write {}", path.display())))
        };
        write(&place.join(file("crt")), authority)?;
        write(&place.join(file("token")), token)?;
        if let Some(client) = client {
            write(&place.join(file("client.crt")), &client.certificate)?;
            write(&place.join(file("client.key")), &client.key)?;
        }
        let path = place.join(name);
        write(&path, &text.to_string())?;
        Ok(path)
    }

    /// Stores an object, whether new or changed.
    pub fn put(&self, object: Value) {
        self.put_all([object]);
    }

    /// Stores objects at one moment: a watch sends their events together.
    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) {
        let mut store = self.shared.store();
        objects.into_iter().for_each(|object| store.put(object));
        drop(store);
        self.shared.wake();
    }

    /// Deletes an object; false if it does not exist. The namespace of a cluster-scoped object is empty.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        let deleted = self.shared.store().delete(&(resource, namespace.into(), name.into()));
        self.shared.wake();
        deleted
    }

    /// Deletes the stored counterparts of these objects, at one moment.
    pub fn delete_all<'a>(&self, objects: impl IntoIterator<Item = &'a Value>) {
        let mut store = self.shared.store();
        for object in objects {
            if let Some(resource) = Resource::of(object) {
                store.delete(&store::key(resource, object));
            }
        }
        drop(store);
        self.shared.wake();
    }

    /// All objects, as they would be listed.
    pub fn objects(&self) -> Vec<Value> {
        self.shared.store().all().map(|object| Value::clone(object)).collect()
    }

    /// Forgets the history: watches from earlier versions, and lists in progress, are answered with 410.
    pub fn compact(&self) {
        self.shared.store().compact();
        self.shared.wake();
    }

    /// The objects and their versions.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.store().clone())
    }

    /// Restores the objects and their versions from a backup. As after the restart of the API servers that a restore
    /// requires, connections have ended, and the history before the backup is forgotten.
    pub fn restore(&mut self, backup: &Backup) -> Result<(), LabError> {
        self.restore_and(backup, |_| {})
    }

    /// [`ApiServer::restore`], and calls `happen` before clients can connect again.
    pub fn restore_and(&mut self, backup: &Backup, happen: impl FnOnce(&Self)) -> Result<(), LabError> {
        self.end();
        let mut store = backup.0.clone();
        store.compact();
        *self.shared.store() = store;
        happen(self);
        self.resume()
    }

    /// From now on, answers requests for this resource with the prepared replies, one after the other, and then not at
    /// all.
    pub fn prepare(&self, resource: Resource, replies: impl IntoIterator<Item = Reply>) {
        self.shared.replies().entry(resource).or_default().next.extend(replies);
    }

    /// Answers the next list of exactly one version with this reply. Without one, such a list is answered with 410 where
    /// replies are prepared.
    pub fn prepare_exact(&self, resource: Resource, reply: Reply) {
        self.shared.replies().entry(resource).or_default().exact = Some(reply);
    }

    /// Sends a bookmark on every watch that requests bookmarks.
    pub fn send_bookmarks(&self) {
        self.shared.ask_for_bookmarks();
    }

    /// Makes requests fail; rules are tried in the order in which they were added.
    pub fn inject(&self, rule: Rule) {
        self.shared.faults().rules.push(rule);
    }

    /// Removes all rules; requests that hang stay so until their connection ends.
    pub fn clear_rules(&self) {
        self.shared.faults().rules.clear();
    }

    /// Distorts events.
    pub fn distort_events(&self, faults: EventFaults) {
        self.shared.faults().events = faults;
    }

    /// Silences all watches, so that they do not even report their end, or lets them continue.
    pub fn silence_watches(&self, silent: bool) {
        self.shared.faults().silent = silent;
        self.shared.wake();
    }

    /// Silences the watches in progress, so that they do not even report their end; new watches work.
    pub fn forget_watches(&self) {
        self.shared.faults().forgotten += 1;
        self.shared.wake();
    }

    /// Sets whether long lists are compressed, for clients that accept compression.
    pub fn compress(&self, compress: bool) {
        self.shared.faults().lacks.compression = !compress;
    }

    /// From now on, answers in JSON only.
    pub fn refuse_protobuf(&self) {
        self.shared.faults().lacks.protobuf = true;
    }

    /// Disables the watch cache, as with `--watch-cache=false`: a list is paged even if the client accepts any
    /// version.
    pub fn disable_watch_cache(&self) {
        self.shared.faults().lacks.watch_cache = true;
    }

    /// Refuses watches from a forgotten version with status 410 rather than with an event ERROR.
    pub fn refuse_old_watches(&self) {
        self.shared.faults().gone_as_status = true;
    }

    /// From now on, accepts only this token.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.token());
    }

    /// From now on, accepts only clients with a certificate from an authority that is created here, whatever their
    /// token. Returns a kubeconfig with such a certificate, which replaces any that an earlier call returned.
    pub fn demand_client_certificate(&mut self) -> Result<PathBuf, LabError> {
        let client = self.identity.demand_clients().map_err(LabError::io("make certificates"))?;
        let path =
            self.write_kubeconfig("with-certificate", &self.identity.authority, TOKEN, Some(client))?;
        self.drop_connections()?;
        Ok(path)
    }

    /// Writes a token into the file that the kubeconfig names, as the kubelet does for a Pod.
    pub fn renew_client_token(&self, token: &str) -> Result<(), LabError> {
        let path = self.files.path().join("kubeconfig.token");
        std::fs::write(path, token).map_err(LabError::io("write a token"))
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests().clone()
    }

    /// The number of requests of this kind.
    pub fn count(&self, verb: Verb, resource: Resource) -> usize {
        let requests = self.shared.requests();
        requests.iter().filter(|request| request.verb == verb && request.resource == Some(resource)).count()
    }

    /// When the last list, or the initial events of a watch, was completely sent.
    pub fn last_list(&self) -> Option<Instant> {
        self.shared.last_list()
    }

    /// The Events that clients have written.
    pub fn events(&self) -> Vec<Value> {
        self.shared.events().all()
    }

    /// Forgets the Events, as a server does after an hour.
    pub fn forget_events(&self) {
        self.shared.events().forget();
    }

    /// Stops the server: connections end, and new ones are refused.
    pub fn stop(&mut self) {
        self.listener = None;
        self.end();
    }

    /// Starts the server again, on the same port.
    pub fn resume(&mut self) -> Result<(), LabError> {
        if self.listener.is_none() {
            let what = format!("serve the API on {} in {}", self.address, self.namespace.name());
            self.listener = Some(listen(&self.namespace, self.address).map_err(LabError::io(what))?);
        }
        self.begin().map_err(LabError::io("start the API server"))
    }

    /// Ends every connection; clients may reconnect at once.
    pub fn drop_connections(&mut self) -> Result<(), LabError> {
        self.end();
        self.resume()
    }

    /// Asks clients to leave their connections (GOAWAY): requests in progress continue there, and new ones need another
    /// connection. kube-apiserver does the same with `--goaway-chance`.
    pub fn retire_connections(&mut self) -> Result<(), LabError> {
        if let Some(mut serving) = self.serving.take() {
            // The thread waits for this, unless it could not begin.
            let _ = serving.retire.take().map(|retire| retire.send(()));
            self.retired.push(serving);
        }
        self.resume()
    }

    /// From now on, offers HTTP/1.1 only.
    pub fn offer_http1_only(&mut self) -> Result<(), LabError> {
        self.offer_http2(false)
    }

    /// From now on, offers HTTP/2, or HTTP/1.1 only.
    pub fn offer_http2(&mut self, is_offered: bool) -> Result<(), LabError> {
        self.identity.offer_http2(is_offered);
        self.drop_connections()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.wire().connections()
    }

    /// The counters of what was sent.
    pub fn wire(&self) -> &Wire {
        &self.shared.wire
    }

    fn begin(&mut self) -> io::Result<()> {
        let (Some(listener), None) = (&self.listener, &self.serving) else { return Ok(()) };
        let (listener, identity, shared) =
            (listener.try_clone()?, self.identity.clone(), self.shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (retire, retired) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async move {
                // The socket can be registered, since it does not block.
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                let connections = TlsListener::new(listener, &identity, Arc::clone(&shared.wire));
                let router = Router::new().fallback(serve::answer).with_state(shared);
                let retired = async {
                    if retired.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    _ = axum::serve(connections, router).with_graceful_shutdown(retired) => {}
                    _ = stopped => {}
                }
            });
            // Every connection is a task and ends with the runtime.
            drop(runtime);
        };
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(serve)?;
        self.serving = Some(Serving { stop, retire: Some(retire), thread });
        Ok(())
    }

    fn end(&mut self) {
        for Serving { stop, thread, .. } in self.serving.take().into_iter().chain(self.retired.drain(..)) {
            // The thread waits for this, unless it could not begin.
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(namespace: &Namespace, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = namespace.socket(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}
