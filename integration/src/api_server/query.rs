//! Parses the method and URL of a request.

use std::{collections::BTreeMap, time::Duration};

use axum::http::{Method, Uri};

use super::{Request, Resource, Verb, protobuf::Encoding, selector::Selector, status::Refusal};

/// The path of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `None` for Events.
    pub resource: Option<Resource>,
    pub namespace: Option<String>,
    pub name: Option<String>,
}

impl Target {
    /// Reads `/api/v1/…` and `/apis/group/version/…`.
    pub fn parse(path: &str) -> Option<Self> {
        let (version, rest) = if let Some(path) = path.strip_prefix("/api/") {
            path.split_once('/')?
        } else {
            let path = path.strip_prefix("/apis/")?;
            let end = path.match_indices('/').nth(1)?.0;
            (&path[..end], &path[end + 1..])
        };
        let rest = rest.strip_suffix("/status").unwrap_or(rest);
        let segments: Vec<_> = rest.split('/').collect();
        let (namespace, kind, name) = match segments[..] {
            [kind] => (None, kind, None),
            [kind, name] => (None, kind, Some(name)),
            ["namespaces", namespace, kind] => (Some(namespace), kind, None),
            ["namespaces", namespace, kind, name] => (Some(namespace), kind, Some(name)),
            _ => return None,
        };
        let resource =
            Resource::ALL.into_iter().find(|known| known.version() == version && known.name() == kind);
        let is_event = version == "events.k8s.io/v1" && kind == "events";
        if resource.is_none() && !is_event {
            return None;
        }
        let needs_namespace = name.is_some() || is_event;
        let namespaced = resource.is_none_or(Resource::is_namespaced);
        if (namespace.is_some() && !namespaced) || (namespace.is_none() && namespaced && needs_namespace) {
            return None;
        }
        Some(Self { resource, namespace: namespace.map(Into::into), name: name.map(Into::into) })
    }

    /// The verb that the method means for this target.
    pub fn verb(&self, method: &Method, query: &BTreeMap<String, String>) -> Option<Verb> {
        match (self.resource.is_some(), self.name.is_some()) {
            (true, true) if method == Method::GET => Some(Verb::Get),
            (true, false) if method == Method::GET && is_true(query.get("watch")) => Some(Verb::Watch),
            (true, false) if method == Method::GET => Some(Verb::List),
            (true, true) if method == Method::DELETE => Some(Verb::Delete),
            (_, false) if method == Method::POST => Some(Verb::Create),
            (_, true) if method == Method::PATCH => Some(Verb::Patch),
            _ => None,
        }
    }
}

/// The parameters of a URL.
pub(super) fn parameters(uri: &Uri) -> BTreeMap<String, String> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The parameters of a list or watch (meta/v1 `ListOptions`).
#[derive(Debug, Clone)]
pub(super) struct ListOptions {
    pub resource: Resource,
    pub namespace: Option<String>,
    pub selector: Selector,
    /// `None` if unset or 0: both accept any version, and get the newest here.
    pub version: Option<u64>,
    /// The version is 0: the request is answered from the server's cache.
    pub from_cache: bool,
    /// `resourceVersionMatch=Exact`.
    pub exact: bool,
    pub limit: Option<usize>,
    pub continued: Option<String>,
    pub bookmarks: bool,
    pub send_initial_events: Option<bool>,
    pub timeout: Option<Duration>,
    pub encoding: Encoding,
}

impl ListOptions {
    pub fn parse(request: &Request, resource: Resource, namespace: Option<String>) -> Result<Self, Refusal> {
        let get = |name: &str| request.query.get(name).filter(|value| !value.is_empty());
        let number = |name: &str| match get(name).map(|text| text.parse::<u64>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Refusal::new(400, format!("{name}: not a number"))),
        };
        let text = |name: &str| get(name).map_or("", String::as_str);
        let selector = Selector::parse(resource, text("labelSelector"), text("fieldSelector"))
            .map_err(|message| Refusal::new(400, message))?;
        let matching = get("resourceVersionMatch").map(String::as_str);
        let version = number("resourceVersion")?;
        let options = Self {
            resource,
            namespace,
            selector,
            version: version.filter(|version| *version > 0),
            from_cache: version == Some(0),
            exact: matching == Some("Exact"),
            limit: number("limit")?.filter(|limit| *limit > 0).map(|limit| limit as usize),
            continued: get("continue").cloned(),
            bookmarks: is_true(get("allowWatchBookmarks")),
            send_initial_events: get("sendInitialEvents").map(|text| is_true(Some(text))),
            timeout: number("timeoutSeconds")?.map(Duration::from_secs),
            encoding: if request.is_protobuf { Encoding::Protobuf } else { Encoding::Json },
        };
        options.validate(request.verb, matching, get("resourceVersion").is_some())?;
        Ok(options)
    }

    /// The rules of `ListOptions` that the API documents.
    fn validate(&self, verb: Verb, matching: Option<&str>, has_version: bool) -> Result<(), Refusal> {
        let invalid = |field: &str, message: &str| Err(Refusal::invalid(field, message));
        let matches = |message: &str| invalid("resourceVersionMatch", message);
        if !matches!(matching, None | Some("Exact" | "NotOlderThan")) {
            return matches("supported values: \"Exact\", \"NotOlderThan\"");
        }
        if verb == Verb::Watch {
            return match (self.send_initial_events, matching) {
                (Some(_), Some("NotOlderThan")) | (None, None) => Ok(()),
                (Some(_), _) => {
                    matches("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
                }
                (None, _) => matches("resourceVersionMatch is forbidden for watch"),
            };
        }
        if self.send_initial_events.is_some() {
            return invalid("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        if self.continued.is_some() && (has_version || matching.is_some()) {
            return Err(Refusal::new(400, "specifying resource version is not allowed when using continue"));
        }
        if matching.is_some() && !has_version {
            return matches("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if self.exact && self.version.is_none() {
            return matches("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"");
        }
        Ok(())
    }
}

fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|value| value == "true" || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_collections_and_objects() {
        let parse = |path| Target::parse(path).map(|t| (t.resource, t.namespace, t.name));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(parse("/api/v1/services"), Some((Some(Resource::Services), None, None)));
        assert_eq!(parse("/api/v1/nodes/a"), Some((Some(Resource::Nodes), None, text("a"))));
        assert_eq!(
            parse("/apis/discovery.k8s.io/v1/namespaces/x/endpointslices/y"),
            Some((Some(Resource::EndpointSlices), text("x"), text("y")))
        );
        assert_eq!(parse("/apis/events.k8s.io/v1/namespaces/x/events"), Some((None, text("x"), None)));
        for nowhere in [
            "/",
            "/api/v1",
            "/api/v1/configmaps",
            "/api/v1/services/a",
            "/api/v1/namespaces/x/nodes",
            "/apis/discovery.k8s.io/v1beta1/endpointslices",
            "/apis/events.k8s.io/v1/events",
        ] {
            assert_eq!(parse(nowhere), None, "{nowhere}");
        }
    }
}
