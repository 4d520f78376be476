//! A single list of everything that explains the Services of a node, for commands that do not keep watching.

use std::time::Duration;

use super::{
    access::Cluster,
    connect::Error,
    error::RequestError,
    kind::{EndpointSlices, Nodes, ServiceCidrs, Services, Watched},
    request::with_parameters,
};

/// Longest list of one kind, in bytes.
const LONGEST: usize = 1 << 30;

/// Timeout of an answer, and of each part of a list.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that was listed.
#[derive(Debug, Default)]
pub struct Listed {
    /// The lists, one after the other, as the API server wrote them.
    pub text: Vec<u8>,
    /// Objects that would help but could not be listed, one sentence each.
    pub warnings: Vec<String>,
    /// The API server.
    pub server: String,
}

impl Cluster {
    /// Lists Services, their slices, Nodes, ServiceCIDRs and Pods, each once. Any of the last three that cannot be
    /// listed is left out with a warning; ServiceCIDRs that the server denies are left out without a warning. If
    /// a namespace is given, and a kind cannot be listed in all namespaces because that is not permitted, only the
    /// objects of this namespace are listed; for Services, with a warning.
    ///
    /// # Errors
    /// The server cannot be reached, or does not permit reading Services or slices.
    pub fn list(self, namespace: Option<&str>) -> Result<Listed, Error> {
        let Self { runtime, mut connection, url, options, hint: _ } = self;
        connection.timing.response = PATIENCE;
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
        let mut listed = Listed { server: url.to_string(), ..Listed::default() };
        let (services, slices) = options.labels();
        // From the server's cache, as the agent's first list may be.
        let newest = ("resourceVersion", "0");
        let all = [newest];
        let services = [newest, ("labelSelector", &services), ("fieldSelector", "spec.clusterIP!=None")];
        let slices = [newest, ("labelSelector", &slices)];
        // Of each kind: the path, the selectors, whether objects have namespaces, and the text of the warning if they
        // cannot be listed. Without the first two kinds, nothing can be explained.
        let kinds = [
            (Services::PATH, &services[..], true, None),
            (EndpointSlices::PATH, &slices, true, None),
            (Nodes::PATH, &all, false, Some("Nodes, so that their addresses and zones are unknown")),
            (
                ServiceCidrs::PATH,
                &all,
                false,
                Some("ServiceCIDRs, so that the networks of ClusterIPs are unknown"),
            ),
            ("/api/v1/pods", &all, true, Some("Pods, so that selectors and conditions are not explained")),
        ];
        for (path, selectors, is_namespaced, without) in kinds {
            let mut text = get(path, selectors);
            let one = namespace.filter(|name| is_namespaced && is_label(name));
            if let Some(namespace) = one
                && text.as_ref().is_err_and(|error| error.reason.is_denied())
            {
                text = get(&in_namespace(path, namespace), selectors);
                if text.is_ok() && path == Services::PATH {
                    listed.warnings.push(format!(
                        "without namespaces other than {namespace}, so that their frontends are unknown"
                    ));
                }
            }
            match (text, without) {
                (Ok(text), _) => {
                    listed.text.extend(text);
                    listed.text.push(b'\n');
                }
                (Err(error), Some(_)) if error.reason.is_denied() && path == ServiceCidrs::PATH => {}
                (Err(error), Some(what)) => listed.warnings.push(format!("without {what}: {error}")),
                (Err(error), None) => return Err(Error(format!("{url}: {error}"))),
            }
        }
        Ok(listed)
    }
}

/// Whether a text may be the name of a namespace.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The path of a kind's objects in a namespace.
pub(super) fn in_namespace(path: &str, namespace: &str) -> String {
    let (group, resource) = path.rsplit_once('/').unwrap_or(("", path));
    format!("{group}/namespaces/{namespace}/{resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_a_path_of_its_own() {
        assert_eq!(in_namespace(Services::PATH, "shop"), "/api/v1/namespaces/shop/services");
        assert_eq!(
            in_namespace(EndpointSlices::PATH, "shop"),
            "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
        );
        assert!(is_label("a-1") && !is_label("") && !is_label("a/b") && !is_label("a?b"));
    }
}
