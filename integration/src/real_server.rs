//! A real API server in place of the test API server: that of a kubeconfig, `PORTOLAN_TEST_KUBECONFIG`.
//!
//! The namespaces of the lab have no way out. A relay on the lab's router accepts connections at the address of the
//! test API server and forwards them to the real one, including TLS. Objects that a test stores are removed at the end.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::http::Request;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use crate::{LabError, Namespace, Resource, wire::Wire};

/// The field manager of the stored objects.
const MANAGER: &str = "portolan-test";

/// A real API server, reached from a namespace of the lab.
pub struct RealServer {
    namespace: Namespace,
    client: Client,
    runtime: Arc<Runtime>,
    _relay: Relay,
    kubeconfig: PathBuf,
    _files: tempfile::TempDir,
    stored: Mutex<Vec<Value>>,
    wire: Arc<Wire>,
}

/// The socket that accepts connections; dropping it stops accepting.
struct Relay(Socket);

impl Drop for Relay {
    fn drop(&mut self) {
        // A listening socket can be shut down; otherwise nothing waits for it.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl RealServer {
    /// Relays from an address in a namespace to the server of a kubeconfig, which is reached from `way`, or from the
    /// namespace of this process.
    pub fn start(
        namespace: &Namespace,
        address: SocketAddr,
        kubeconfig: &Path,
        way: Option<&Namespace>,
    ) -> Result<Self, LabError> {
        let failed =
            |error: String| LabError::Command { command: kubeconfig.display().to_string(), stderr: error };
        let mut config = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(error.to_string()))?;
        let server = retarget(&mut config, address).ok_or_else(|| failed("it names no server".to_owned()))?;
        let target = server.to_socket_addrs().ok().and_then(|mut all| all.next());
        let target = target.ok_or_else(|| failed(format!("{server} is not an address")))?;
        let wire = Arc::new(Wire::default());
        let relay = relay(namespace, address, target, way, Arc::clone(&wire))
            .map_err(LabError::io("relay to the API server"))?;
        let files = tempfile::tempdir().map_err(LabError::io("make a directory for a kubeconfig"))?;
        let path = files.path().join("kubeconfig");
        std::fs::write(&path, json!(config).to_string()).map_err(LabError::io("write a kubeconfig"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = Arc::new(runtime.map_err(LabError::io("start a runtime"))?);
        let client = runtime.block_on(async {
            let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
            let config = config.map_err(|error| failed(error.to_string()))?;
            Client::try_from(config).map_err(|error| failed(error.to_string()))
        })?;
        Ok(Self {
            namespace: namespace.clone(),
            client,
            runtime,
            _relay: relay,
            kubeconfig: path,
            _files: files,
            stored: Mutex::default(),
            wire,
        })
    }

    /// The counters of what the server has sent into the lab.
    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    /// A kubeconfig for the lab.
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }

    /// Stores objects, whether new or changed, one after the other.
    ///
    /// # Panics
    /// If the server refuses an object.
    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) {
        for object in objects {
            let path = path(&object);
            let mut applied = object.clone();
            let status = applied.as_object_mut().and_then(|fields| fields.remove("status"));
            let url = format!("{path}?fieldManager={MANAGER}&force=true");
            self.request("PATCH", &url, Some(("application/apply-patch+yaml", &applied)));
            if let Some(status) = status {
                // The addresses of a Node cannot be applied: its schema has one address of each type.
                let change = json!({"status": status});
                self.request(
                    "PATCH",
                    &format!("{path}/status"),
                    Some(("application/merge-patch+json", &change)),
                );
            }
            self.stored.lock().unwrap_or_else(PoisonError::into_inner).push(object);
        }
    }

    /// Deletes the stored counterparts of these objects, if they exist.
    pub fn delete_all<'a>(&self, objects: impl IntoIterator<Item = &'a Value>) {
        objects.into_iter().for_each(|object| _ = self.try_request("DELETE", &path(object), None));
    }

    /// All objects, as they would be listed.
    ///
    /// # Panics
    /// If the server does not list them.
    pub fn objects(&self) -> Vec<Value> {
        let list = |resource: Resource| {
            let mut list = self.request("GET", &collection(resource, None), None);
            let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            items.into_iter().map(move |mut item| {
                item["apiVersion"] = resource.version().into();
                item["kind"] = resource.kind().into();
                item
            })
        };
        Resource::OF_AGENTS.into_iter().flat_map(list).collect()
    }

    fn request(&self, method: &str, url: &str, document: Option<(&str, &Value)>) -> Value {
        self.try_request(method, url, document).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
    }

    fn try_request(
        &self,
        method: &str,
        url: &str,
        document: Option<(&str, &Value)>,
    ) -> Result<Value, Box<kube::Error>> {
        let (kind, body) = document
            .map_or(("application/json", String::new()), |(kind, document)| (kind, document.to_string()));
        let request = Request::builder().method(method).uri(url).header("content-type", kind);
        let request = request.body(body.into_bytes()).unwrap_or_else(|error| panic!("{url}: {error}"));
        let (client, runtime) = (self.client.clone(), Arc::clone(&self.runtime));
        // Connections are made in the namespace of the calling thread.
        self.namespace.enter(move || runtime.block_on(client.request(request))).map_err(Box::new)
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let stored = std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        self.delete_all(&stored);
    }
}

/// Points the cluster of the current context to this address, under its old server name; returns the old host and port.
fn retarget(config: &mut Kubeconfig, address: SocketAddr) -> Option<String> {
    let current = config.current_context.clone()?;
    let context = config.contexts.iter().find(|context| context.name == current)?.context.clone()?;
    let cluster =
        config.clusters.iter_mut().find(|cluster| cluster.name == context.cluster)?.cluster.as_mut()?;
    let url: axum::http::Uri = cluster.server.as_deref()?.parse().ok()?;
    let (host, port) = (url.host()?.to_owned(), url.port_u16().unwrap_or(443));
    cluster.server = Some(format!("https://{address}"));
    let name = host.trim_matches(['[', ']']).to_owned();
    cluster.tls_server_name.get_or_insert(name);
    Some(format!("{host}:{port}"))
}

fn relay(
    namespace: &Namespace,
    address: SocketAddr,
    target: SocketAddr,
    way: Option<&Namespace>,
    wire: Arc<Wire>,
) -> io::Result<Relay> {
    let socket = namespace.socket(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    let listener = TcpListener::from(socket.try_clone()?);
    let way = way.cloned();
    std::thread::Builder::new().name("relay".into()).spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = match &way {
                None => TcpStream::connect(target),
                Some(way) => way.socket(Domain::for_address(target), Type::STREAM, None).and_then(|socket| {
                    socket.connect(&target.into())?;
                    Ok(socket.into())
                }),
            };
            // If the server cannot be reached, the connection ends, as it would there.
            let Ok(far) = far else { continue };
            wire.note_connection();
            for (from, to, wire) in [(&near, &far, None), (&far, &near, Some(Arc::clone(&wire)))] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                std::thread::spawn(move || copy(from, to, wire.as_deref()));
            }
        }
    })?;
    Ok(Relay(socket))
}

fn copy(mut from: TcpStream, mut to: TcpStream, wire: Option<&Wire>) {
    let mut bytes = vec![0; 64 << 10];
    // However the copy ends, the other side is notified.
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if let Some(wire) = wire {
            wire.note_sent(count, Instant::now());
        }
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn collection(resource: Resource, namespace: Option<&str>) -> String {
    let root = if resource.version() == "v1" { "/api" } else { "/apis" };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{root}/{}{namespace}/{}", resource.version(), resource.name())
}

fn path(object: &Value) -> String {
    let resource = Resource::of(object).unwrap_or_else(|| panic!("not a kind of the lab: {object}"));
    let namespace = object["metadata"]["namespace"].as_str().filter(|_| resource.is_namespaced());
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    format!("{}/{name}", collection(resource, namespace))
}
