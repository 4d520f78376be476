//! Manifests: a directory that `portolan run -f` watches, and builders for what goes into it.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{Family, LabError, Pod, Protocol, yaml};

/// A directory of manifests, removed when dropped.
#[derive(Debug)]
pub struct Manifests(tempfile::TempDir);

impl Manifests {
    /// An empty directory.
    pub fn new() -> Result<Self, LabError> {
        tempfile::tempdir().map(Self).map_err(LabError::io("make a directory for manifests"))
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes these objects as one YAML file, by renaming, so that no reader sees a part of the file.
    pub fn put(&self, name: &str, objects: &[Value]) -> io::Result<()> {
        self.put_text(name, &yaml::documents(objects))
    }

    /// Writes a file by renaming.
    pub fn put_text(&self, name: &str, text: &str) -> io::Result<()> {
        // The draft is hidden and has no manifest extension, so it is not read as a manifest until it is renamed.
        let draft = self.file(&format!(".{name}.draft"));
        fs::write(&draft, text)?;
        fs::rename(draft, self.file(name))
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    /// The text that [`Manifests::put`] writes for these objects.
    pub fn text(objects: &[Value]) -> String {
        yaml::documents(objects)
    }
}

/// Builds a Service (core/v1).
#[derive(Debug, Clone)]
pub struct Service(Value);

impl Service {
    /// A Service of type `ClusterIP` in namespace `default` with these `ClusterIPs`, primary first.
    pub fn new(name: &str, cluster_ips: impl IntoIterator<Item = IpAddr>) -> Self {
        let ips: Vec<IpAddr> = cluster_ips.into_iter().collect();
        let families: Vec<_> = ips.iter().map(|ip| Family::of(*ip).name()).collect();
        // An API server assigns a second address only if this is set.
        let policy = if ips.len() > 1 { "RequireDualStack" } else { "SingleStack" };
        Self(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": ips.first(),
                "clusterIPs": ips,
                "ipFamilies": families,
                "ipFamilyPolicy": policy,
                "ports": [],
            },
        }))
    }

    /// Sets any field of the object, by JSON pointer: `/spec/type`. Missing parents are created.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.0;
        for key in pointer.split('/').skip(1) {
            place = &mut place[key];
        }
        *place = value.into();
        self
    }

    /// Sets `spec.type`.
    #[must_use]
    pub fn of_type(self, kind: &str) -> Self {
        self.with("/spec/type", kind)
    }

    /// Adds a port; `name` may be empty.
    #[must_use]
    pub fn port(self, name: &str, protocol: Protocol, port: u16) -> Self {
        self.push("/spec/ports", json!({"name": name, "protocol": protocol.name(), "port": port}))
    }

    /// Sets `nodePort` of the port added last.
    #[must_use]
    pub fn node_port(self, number: u16) -> Self {
        self.last_port("nodePort", number.into())
    }

    /// Sets `targetPort` of the port added last: a number or a name.
    #[must_use]
    pub fn target_port(self, target: impl Into<Value>) -> Self {
        self.last_port("targetPort", target.into())
    }

    /// Adds an entry to `spec.externalIPs`.
    #[must_use]
    pub fn external_ip(self, address: IpAddr) -> Self {
        self.push("/spec/externalIPs", json!(address))
    }

    /// Adds an entry to `status.loadBalancer.ingress`; `ip_mode` is `VIP`, `Proxy` or unset.
    #[must_use]
    pub fn ingress(self, address: IpAddr, ip_mode: Option<&str>) -> Self {
        let entry = match ip_mode {
            Some(mode) => json!({"ip": address, "ipMode": mode}),
            None => json!({"ip": address}),
        };
        self.push("/status/loadBalancer/ingress", entry)
    }

    /// The object.
    pub fn object(&self) -> Value {
        self.0.clone()
    }

    fn push(self, pointer: &str, entry: Value) -> Self {
        let mut entries = match self.0.pointer(pointer) {
            Some(Value::Array(entries)) => entries.clone(),
            _ => Vec::new(),
        };
        entries.push(entry);
        self.with(pointer, entries)
    }

    fn last_port(mut self, field: &str, value: Value) -> Self {
        let ports = self.0.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        if let Some(port) = ports.and_then(|ports| ports.last_mut()) {
            port[field] = value;
        }
        self
    }
}

/// Builds an `EndpointSlice` (discovery.k8s.io/v1).
#[derive(Debug, Clone)]
pub struct Slice {
    object: Value,
    family: Family,
}

impl Slice {
    /// An empty slice of a Service in namespace `default`.
    pub fn new(service: &str, family: Family) -> Self {
        let name = format!("{service}-{}", family.name().to_lowercase());
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": family.name(),
            "ports": [],
            "endpoints": [],
        });
        Self { object, family }
    }

    /// The slices of both families of a Service, with one port and these pods, all ready.
    pub fn both(service: &str, port: (&str, Protocol, u16), pods: &[&Pod]) -> Vec<Value> {
        let slice = |family| {
            let empty = Self::new(service, family).port(port.0, port.1, port.2);
            pods.iter().fold(empty, |slice, pod| slice.pod(pod)).object()
        };
        Family::BOTH.map(slice).into()
    }

    /// Renames the slice; several slices of a Service need different names.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.object["metadata"]["name"] = name.into();
        self
    }

    /// Adds a port; `name` equals the name of the Service's port, `port` is the port of the pods.
    #[must_use]
    pub fn port(self, name: &str, protocol: Protocol, port: u16) -> Self {
        self.push("ports", json!({"name": name, "protocol": protocol.name(), "port": port}))
    }

    /// Adds a ready pod.
    #[must_use]
    pub fn pod(self, pod: &Pod) -> Self {
        self.pod_with(pod, &json!({"ready": true, "serving": true, "terminating": false}))
    }

    /// Adds a pod with these conditions.
    #[must_use]
    pub fn pod_with(self, pod: &Pod, conditions: &Value) -> Self {
        let entry = json!({
            "addresses": [pod.address().of(self.family)],
            "conditions": conditions,
            "nodeName": pod.node_name(),
            "targetRef": {"kind": "Pod", "name": pod.name(), "namespace": "default"},
        });
        self.push("endpoints", entry)
    }

    /// The object.
    pub fn object(&self) -> Value {
        self.object.clone()
    }

    fn push(mut self, field: &str, entry: Value) -> Self {
        if let Some(entries) = self.object.get_mut(field).and_then(Value::as_array_mut) {
            entries.push(entry);
        }
        self
    }
}

/// The nth of many Services, at 10.97.x.y, and its slice with these endpoints, to which no Pod corresponds.
pub fn numbered(number: u32, endpoints: impl IntoIterator<Item = u8>) -> [Value; 2] {
    let [_, block, high, low] = number.to_be_bytes();
    let name = format!("many-{number}");
    let service =
        Service::new(&name, [[10, 97 + block, high, low].into()]).port("http", Protocol::Tcp, 80).object();
    let endpoint = |n: u8| {
        json!({
            "addresses": [format!("10.{}.{high}.{low}", 200 + n + 10 * block)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": "node-b",
            "targetRef": {"kind": "Pod", "name": format!("{name}-{n}"), "namespace": "default"},
        })
    };
    let mut slice = Slice::new(&name, Family::V4).port("http", Protocol::Tcp, 8080).object();
    slice["endpoints"] = endpoints.into_iter().map(endpoint).collect();
    [service, slice]
}

/// The Pod object of a running pod: ready, with this label and this named container port.
pub fn pod_object(pod: &Pod, label: (&str, &str), port: (&str, Protocol, u16)) -> Value {
    let addresses = Family::BOTH.map(|family| json!({"ip": pod.address().of(family)}));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name(), "namespace": "default", "labels": {label.0: label.1}},
        "spec": {
            "nodeName": pod.node_name(),
            "containers": [{
                "name": "main",
                "ports": [{"name": port.0, "protocol": port.1.name(), "containerPort": port.2}],
            }],
        },
        "status": {
            "phase": "Running",
            "podIP": pod.address().v4,
            "podIPs": addresses,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}
