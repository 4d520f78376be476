//! One list of everything that explains the Services of a node, for commands that do not stay.

use std::time::Duration;

use serde_json::Value;

use super::{Cluster, Error, error::RequestError, kind::Watched, labels, request::with_parameters};
use crate::api::{EndpointSlice, Node, Service, ServiceCidr};

/// Longest list of one kind, in bytes.
const LONGEST: usize = 1 << 30;

/// How many Nodes are named when the one that is asked for does not exist.
const SHOWN_NODES: usize = 5;

/// Timeout of an answer, and of each part of a list.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that was listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// The lists, one after the other, as the API server wrote them.
    pub text: Vec<u8>,
    /// What could not be listed although it would help, a sentence each.
    pub warnings: Vec<String>,
    /// The API server.
    pub server: String,
}

impl Cluster {
    /// Lists Services, their slices, this Node, ServiceCIDRs and Pods, each once. Pods are left out with a warning if
    /// reading them is not permitted.
    ///
    /// # Errors
    /// The server cannot be reached, or does not permit reading Services or slices.
    pub fn list(self) -> Result<Listed, Error> {
        let Self { runtime, mut connection, url, options, hint: _ } = self;
        connection.timing.response = PATIENCE;
        let server = url.to_string();
        let refuse = |error: RequestError| Error::List { url: server.clone(), reason: error.to_string() };
        let get = |path: &str, selectors: &[(&str, &str)]| {
            let path = with_parameters(path, selectors);
            runtime.block_on(async {
                let text = connection.get(&path).await?.text(LONGEST).await?;
                if text.len() > LONGEST {
                    return Err(RequestError::malformed("the list is longer than 1 GiB"));
                }
                Ok(text)
            })
        };
        let mut listed = Listed { server: server.clone(), ..Listed::default() };
        let (services, slices) = labels(options.proxy_name.as_deref());
        let this_node = format!("metadata.name={}", options.node_name);
        // From the server's cache, as the agent's first list may be.
        let newest = ("resourceVersion", "0");
        let needed: [(&str, &[(&str, &str)]); 3] = [
            (
                Service::PATH,
                &[newest, ("labelSelector", &services), ("fieldSelector", "spec.clusterIP!=None")],
            ),
            (EndpointSlice::PATH, &[newest, ("labelSelector", &slices)]),
            (Node::PATH, &[newest, ("fieldSelector", &this_node)]),
        ];
        for (path, selectors) in needed {
            let text = get(path, selectors).map_err(refuse)?;
            if path == Node::PATH && has_no_items(&text) {
                let names = get(path, &[("limit", "500")]).map(|text| names(&text)).unwrap_or_default();
                listed.warnings.push(no_node(&options.node_name, &names));
            }
            listed.append(&text);
        }
        let optional = [
            (ServiceCidr::PATH, "ServiceCIDRs, so that the networks of ClusterIPs are unknown"),
            ("/api/v1/pods", "Pods, so that selectors and conditions are not explained"),
        ];
        for (path, what) in optional {
            match get(path, &[newest]) {
                Ok(text) => listed.append(&text),
                Err(error) if error.reason.is_denied() && path == ServiceCidr::PATH => {}
                Err(error) => listed.warnings.push(format!("without {what}: {error}")),
            }
        }
        Ok(listed)
    }
}

impl Listed {
    fn append(&mut self, list: &[u8]) {
        self.text.extend_from_slice(list);
        self.text.push(b'\n');
    }
}

/// That there is no such Node, and which there are.
fn no_node(name: &str, names: &[String]) -> String {
    let shown = names.iter().take(SHOWN_NODES).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(SHOWN_NODES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let hint = if names.is_empty() { String::new() } else { format!("; there are {shown}{more} (--node)") };
    format!("there is no Node {name}{hint}")
}

fn items(list: &[u8]) -> Vec<Value> {
    match serde_json::from_slice::<Value>(list) {
        Ok(Value::Object(mut fields)) => match fields.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn has_no_items(list: &[u8]) -> bool {
    items(list).is_empty()
}

fn names(list: &[u8]) -> Vec<String> {
    let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
    items(list).iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_where_there_is_none_of_the_name() {
        let list = br#"{"kind":"NodeList","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#;
        assert_eq!(no_node("x", &names(list)), "there is no Node x; there are a, b (--node)");
        assert_eq!(no_node("x", &[]), "there is no Node x");
        let many: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(no_node("x", &many), "there is no Node x; there are 0, 1, 2, 3, 4 and 2 more (--node)");
        assert!(!has_no_items(list) && has_no_items(b"{\"items\":null}") && has_no_items(b"x"));
    }
}
