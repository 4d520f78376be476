//! The servers that the test creates through the API server, and removes whatever happens.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::arguments::ConnectivityTestArgs;
use crate::{
    cli::output::{CommandError, Ended},
    source::cluster::Objects,
};

/// Manifests of the servers and of their Services.
const SERVERS: &str = include_str!("servers.yaml");

/// Time between two checks whether the servers are ready, or whether the namespace is gone.
const POLL: Duration = Duration::from_millis(500);

/// How long to wait until the namespace is gone.
const REMOVAL: Duration = Duration::from_mins(1);

/// The error if a signal has ended the creation.
const INTERRUPTED: &str = "interrupted";

/// What the test creates.
pub struct Created {
    objects: Objects,
    namespace: String,
    /// Suffix of the names of this run.
    suffix: String,
    /// The paths of the created objects, in the order of creation. `None` once the removal has begun: nothing more is
    /// created then.
    paths: Mutex<Option<Vec<String>>>,
}

/// Does the work, and then removes what it has created, also if the work fails or panics, or if SIGINT or SIGTERM
/// comes.
pub fn with<F>(created: Created, work: F) -> Ended
where
    F: FnOnce(&Created) -> Ended + Send + 'static,
{
    let created = Arc::new(created);
    let (ends, end) = mpsc::channel();
    let started = catch_signals(ends.clone()).and_then(|()| {
        let created = Arc::clone(&created);
        let work = move || {
            let done =
                catch_unwind(AssertUnwindSafe(|| work(&created))).unwrap_or(Err(CommandError::Reported));
            // Reported before the removal, which may take a while.
            let _ = done.as_ref().inspect_err(|failure| failure.report());
            // The receiver is gone if a signal came first.
            let _ = ends.send((false, done.map_err(|_| CommandError::Reported)));
        };
        thread::Builder::new().name("test".into()).spawn(work).map(drop)
    });
    started.map_err(|error| format!("cannot start a thread: {error}"))?;
    let (is_signal, ended) = end.recv().unwrap_or((false, Err(CommandError::Reported)));
    let is_removed = created.remove();
    if is_signal || is_removed { ended } else { Err(CommandError::Reported) }
}

/// Catches SIGINT and SIGTERM from now on. The first signal starts the removal, the second ends the process.
fn catch_signals(ends: mpsc::Sender<(bool, Ended)>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let catch = move || {
        for (place, number) in signals.forever().enumerate() {
            if place == 0 {
                // The receiver is gone if the work is done, and everything is being removed already.
                let _ = ends.send((true, Ok(ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX)))));
            } else {
                eprintln!("portolan: stopped before everything was removed");
                std::process::exit(128 + number);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(catch).map(drop)
}

impl Created {
    /// Prepares a run; nothing is created yet. If no namespace is given, the run creates one.
    pub fn new(objects: Objects, namespace: Option<String>) -> Self {
        let suffix: String = std::iter::repeat_with(fastrand::lowercase).take(5).collect();
        let own = || format!("portolan-connectivity-test-{suffix}");
        let namespace = namespace.unwrap_or_else(own);
        Self { objects, namespace, suffix, paths: Mutex::new(Some(Vec::new())) }
    }

    /// The Service of the servers in Pods, as NAMESPACE/NAME.
    pub fn service(&self) -> String {
        format!("{}/server-{}", self.namespace, self.suffix)
    }

    /// The Service of the servers in the host's network.
    pub fn nodes(&self) -> String {
        format!("{}/node-{}", self.namespace, self.suffix)
    }

    fn paths(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates the servers and waits until they are ready.
    ///
    /// # Errors
    /// The API server refuses an object, or the servers are not ready in time.
    pub fn create(&self, args: &ConnectivityTestArgs) -> Result<(), CommandError> {
        let image = args.image.clone().map_or_else(|| self.image(), Ok)?;
        if args.namespace.is_none() {
            // The servers of the nodes are in the host's network.
            let labels = json!({"pod-security.kubernetes.io/enforce": "privileged"});
            self.create_one(&json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels},
            }))?;
        }
        let text = SERVERS.replace("SUFFIX", &self.suffix);
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| format!("servers.yaml: {error}"))?;
        for mut object in objects {
            object["metadata"]["namespace"] = self.namespace.as_str().into();
            if let Some(container) = object.pointer_mut("/spec/template/spec/containers/0/image") {
                *container = image.as_str().into();
            }
            if args.load_balancer && object["spec"]["type"] == "NodePort" {
                object["spec"]["type"] = "LoadBalancer".into();
            }
            self.create_one(&object)?;
        }
        eprintln!(
            "portolan: created servers of {image} in namespace {}; waiting until they are ready",
            self.namespace
        );
        self.wait(args)
    }

    fn create_one(&self, object: &Value) -> Result<(), CommandError> {
        let namespace = &self.namespace;
        let collection = match object["kind"].as_str() {
            Some("Namespace") => "/api/v1/namespaces".to_owned(),
            Some("Service") => format!("/api/v1/namespaces/{namespace}/services"),
            _ => format!("/apis/apps/v1/namespaces/{namespace}/daemonsets"),
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        // The lock makes the removal wait for the API server's answer.
        let mut paths = self.paths();
        let paths = paths.as_mut().ok_or(INTERRUPTED)?;
        // Recorded before the object exists, since the answer may be lost. Only this run uses the name.
        paths.push(format!("{collection}/{name}"));
        Ok(self.objects.create(&collection, object)?)
    }

    /// Returns the image of this Pod, or else of an agent's Pod.
    fn image(&self) -> Result<String, CommandError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if let (Some(namespace), Some(name)) = (variable("POD_NAMESPACE"), variable("POD_NAME")) {
            let own = format!("metadata.name={name}");
            let pods = self
                .objects
                .list(&format!("/api/v1/namespaces/{namespace}/pods"), &[("fieldSelector", &own)])?;
            if let Some(image) = pods.first().and_then(|pod| pod["spec"]["containers"][0]["image"].as_str()) {
                return Ok(image.to_owned());
            }
        }
        for label in ["app.kubernetes.io/name=portolan", "k8s-app=portolan"] {
            let pods = self.objects.list("/api/v1/pods", &[("labelSelector", label), ("limit", "1")])?;
            let containers = pods.iter().filter_map(|pod| pod["spec"]["containers"].as_array()).flatten();
            let mut agents = containers.filter(|container| container["name"] == "portolan");
            if let Some(image) = agents.find_map(|container| container["image"].as_str()) {
                return Ok(image.to_owned());
            }
        }
        Err("no Pod of the agent was found whose image the servers could use; give --image".into())
    }

    fn wait(&self, args: &ConnectivityTestArgs) -> Result<(), CommandError> {
        let began = Instant::now();
        loop {
            let Some(what) = self.missing(args)? else { return Ok(()) };
            if self.paths().is_none() {
                return Err(INTERRUPTED.into());
            }
            if began.elapsed() >= args.timeout {
                let (waited, namespace) = (args.timeout.as_secs(), &self.namespace);
                return Err(format!(
                    "after {waited} s: {what}; `kubectl -n {namespace} describe pods` shows more"
                )
                .into());
            }
            thread::sleep(POLL);
        }
    }

    /// Describes what is not ready yet. Returns `None` if everything is ready.
    fn missing(&self, args: &ConnectivityTestArgs) -> Result<Option<String>, CommandError> {
        let namespace = &self.namespace;
        for kind in ["server", "node"] {
            let name = format!("{kind}-{}", self.suffix);
            let path = format!("/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}");
            let status = self.objects.get(&path)?.unwrap_or_default()["status"].take();
            let count = |field: &str| status[field].as_u64().unwrap_or_default();
            let (ready, wanted) = (count("numberReady"), count("desiredNumberScheduled"));
            if wanted == 0 || ready < wanted {
                return Ok(Some(format!("{ready} of {wanted} Pods of DaemonSet {name} are ready")));
            }
            let label = format!("kubernetes.io/service-name={name}");
            let collection = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
            let slices = self.objects.list(&collection, &[("labelSelector", &label)])?;
            let is_ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
            let count = |slice: &Value| {
                slice["endpoints"].as_array().into_iter().flatten().filter(is_ready).count() as u64
            };
            let of = |family: &str| -> u64 {
                slices.iter().filter(|slice| slice["addressType"] == family).map(count).sum()
            };
            let ready = of("IPv4").max(of("IPv6"));
            if ready < wanted {
                return Ok(Some(format!("Service {name} has {ready} of {wanted} endpoints")));
            }
        }
        let path = format!("/api/v1/namespaces/{namespace}/services/server-{}", self.suffix);
        let has_address = |service: &Value| !service["status"]["loadBalancer"]["ingress"][0].is_null();
        if args.load_balancer && !self.objects.get(&path)?.is_some_and(|service| has_address(&service)) {
            return Ok(Some("no address was assigned to the load balancer".to_owned()));
        }
        Ok(None)
    }

    /// Removes what was created, in reverse order. Returns whether everything could be removed.
    fn remove(&self) -> bool {
        let paths = self.paths().take().unwrap_or_default();
        if paths.is_empty() {
            return true;
        }
        eprintln!("portolan: removing what was created in namespace {}", self.namespace);
        let mut is_removed = true;
        for path in paths.iter().rev() {
            if let Err(error) = self.objects.delete(path) {
                eprintln!("portolan: {path} cannot be removed: {error}");
                is_removed = false;
            }
        }
        let namespace = paths
            .first()
            .filter(|path| path.starts_with("/api/v1/namespaces/") && path.matches('/').count() == 4);
        let began = Instant::now();
        while let Some(path) = namespace.filter(|_| is_removed) {
            match self.objects.get(path) {
                Ok(None) => break,
                Ok(Some(_)) if began.elapsed() < REMOVAL => thread::sleep(POLL),
                _ => {
                    eprintln!("portolan: namespace {} is still being removed", self.namespace);
                    break;
                }
            }
        }
        is_removed
    }
}
