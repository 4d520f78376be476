//! Checks, before the agent runs, whether it could run in a cluster: its Node, its rights, and the API server's
//! addresses.

use std::{
    net::{IpAddr, ToSocketAddrs},
    time::Duration,
};

use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::{
    access::Cluster,
    error::RequestError,
    request::{Connection, JSON},
};
use crate::api::{parse_cidr, parse_ip};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many Nodes are listed to find a similar name.
const NODES: &str = "100";

/// A right that the agent uses in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// `list`, `watch`, `create` or `patch`.
    pub verb: &'static str,
    /// The group of the API; empty for the core.
    pub group: &'static str,
    /// The resource, such as `services`.
    pub resource: &'static str,
    /// Whether Services are not served without this right.
    pub is_needed: bool,
}

/// Every right that the agent uses, as the shipped `ClusterRole` grants them.
pub const RIGHTS: [Right; 10] = {
    const fn right(
        verb: &'static str,
        group: &'static str,
        resource: &'static str,
        is_needed: bool,
    ) -> Right {
        Right { verb, group, resource, is_needed }
    }
    [
        right("list", "", "services", true),
        right("watch", "", "services", true),
        right("list", "", "nodes", true),
        right("watch", "", "nodes", true),
        right("list", "discovery.k8s.io", "endpointslices", true),
        right("watch", "discovery.k8s.io", "endpointslices", true),
        right("list", "networking.k8s.io", "servicecidrs", false),
        right("watch", "networking.k8s.io", "servicecidrs", false),
        right("create", "events.k8s.io", "events", false),
        right("patch", "events.k8s.io", "events", false),
    ]
};

/// The additional right that the agent uses with `--remove-taint`.
const STARTUP_TAINT: Right = Right { verb: "patch", group: "", resource: "nodes", is_needed: false };

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let separator = if self.group.is_empty() { "" } else { "." };
        write!(f, "{} {}{separator}{}", self.verb, self.resource, self.group)
    }
}

/// The answers of a cluster. Each error is one line of text.
#[derive(Debug)]
pub struct Inspection {
    /// The URL of the API server.
    pub url: String,
    /// The addresses of the API server that belong to Services or their networks, which exist only where a service
    /// proxy has programmed them.
    pub service_addresses: Vec<IpAddr>,
    /// `None` if there is a Node with this name, otherwise the names of the existing Nodes, the most similar first.
    pub node: Result<Option<Vec<String>>, String>,
    /// Whether the server denied the request for the Node. It is still asked for the rights.
    pub is_node_denied: bool,
    /// The rights that are not granted, or why they are not known.
    pub missing_rights: Result<Vec<Right>, String>,
}

impl Cluster {
    /// Asks the API server. Blocks until it has answered; the timeout of each answer is ten seconds.
    pub fn inspect(mut self) -> Inspection {
        self.connection.timing.response = PATIENCE;
        let Self { runtime, connection, url, options, .. } = self;
        let rights = RIGHTS.into_iter().chain(options.startup_taint.as_ref().map(|_| STARTUP_TAINT));
        let inspection = runtime.block_on(async {
            let node = node(&connection, &options.node_name).await;
            let is_node_denied = node.as_ref().is_err_and(|error| error.reason.is_denied());
            // An API server that does not answer is not asked ten times more.
            let missing_rights = if node.is_ok() || is_node_denied {
                missing_rights(&connection, rights).await
            } else {
                Ok(Vec::new())
            };
            let service_addresses = service_addresses(&connection, &url).await;
            Inspection {
                url: url.to_string(),
                service_addresses,
                node: node.map_err(|error| error.to_string()),
                is_node_denied,
                missing_rights: missing_rights.map_err(|error| error.to_string()),
            }
        });
        runtime.shutdown_background();
        inspection
    }
}

/// `None` if there is a Node with this name, otherwise the names of the existing Nodes.
async fn node(connection: &Connection, name: &str) -> Result<Option<Vec<String>>, RequestError> {
    let selector = format!("metadata.name={name}");
    if !connection.items("/api/v1/nodes", &[("fieldSelector", &selector)]).await?.is_empty() {
        return Ok(None);
    }
    let nodes = connection.items("/api/v1/nodes", &[("limit", NODES)]).await?;
    let mut names: Vec<String> =
        nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect();
    names.sort_by_key(|other| strsim::osa_distance(other, name));
    Ok(Some(names))
}

/// Asks for every right, as `kubectl auth can-i` does; every authenticated user may ask.
async fn missing_rights(
    connection: &Connection,
    rights: impl Iterator<Item = Right>,
) -> Result<Vec<Right>, RequestError> {
    let mut missing = Vec::new();
    for right in rights {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"group": right.group, "resource": right.resource, "verb": right.verb}},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = connection.write("POST", path, JSON, &review).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(RequestError::malformed)?;
        match answer["status"]["allowed"].as_bool() {
            Some(true) => {}
            Some(false) => missing.push(right),
            None => return Err(RequestError::malformed("there is no status.allowed")),
        }
    }
    Ok(missing)
}

/// The API server's addresses that are ClusterIPs. A lookup that fails counts as empty.
async fn service_addresses(connection: &Connection, url: &http::Uri) -> Vec<IpAddr> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_u16().unwrap_or(443);
    let resolve = move || (host.as_str(), port).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect());
    let resolved: Vec<IpAddr> = match tokio::task::spawn_blocking(resolve).await {
        Ok(Ok(addresses)) => addresses,
        _ => return Vec::new(),
    };
    let services = connection
        .items("/api/v1/namespaces/default/services", &[("fieldSelector", "metadata.name=kubernetes")]);
    let services = services.await.unwrap_or_default();
    let addresses = services.iter().flat_map(|service| texts(&service["spec"]["clusterIPs"]));
    let addresses: Vec<IpAddr> = addresses.filter_map(|text| parse_ip(&text)).collect();
    let ranges = connection.items("/apis/networking.k8s.io/v1/servicecidrs", &[]).await.unwrap_or_default();
    let ranges = ranges.iter().flat_map(|range| texts(&range["spec"]["cidrs"]));
    let ranges: Vec<IpNetwork> = ranges.filter_map(|text| parse_cidr(&text)).collect();
    let is_service =
        |at: &IpAddr| addresses.contains(at) || ranges.iter().any(|network| network.contains(*at));
    resolved.into_iter().filter(is_service).collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
