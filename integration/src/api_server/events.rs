//! Events (events.k8s.io/v1) that clients write.

use std::collections::BTreeMap;

use serde_json::Value;

use super::status::Refusal;

/// The Events, by namespace and name.
#[derive(Debug, Default)]
pub(super) struct Events(BTreeMap<(String, String), Value>);

impl Events {
    /// Stores a new Event.
    pub fn create(&mut self, namespace: &str, mut event: Value) -> Result<Value, Refusal> {
        if let Some(generate) = event["metadata"]["generateName"].as_str() {
            event["metadata"]["name"] = format!("{generate}{}", self.0.len()).into();
        }
        let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        validate(namespace, &name, &event)?;
        let key = (namespace.to_owned(), name);
        if self.0.contains_key(&key) {
            return Err(Refusal::new(409, format!("events.events.k8s.io {:?} already exists", key.1)));
        }
        self.0.insert(key, event.clone());
        Ok(event)
    }

    /// Merges a patch into an Event. Strategic merge patches differ only in lists, which Events lack.
    pub fn patch(&mut self, namespace: &str, name: &str, patch: &Value) -> Result<Value, Refusal> {
        let key = (namespace.to_owned(), name.to_owned());
        let missing = || Refusal::new(404, format!("events.events.k8s.io {name:?} not found"));
        let event = self.0.get_mut(&key).ok_or_else(missing)?;
        let mut patched = event.clone();
        json_patch::merge(&mut patched, patch);
        validate(namespace, name, &patched)?;
        event.clone_from(&patched);
        Ok(patched)
    }

    /// Forgets all Events, as a server does after an hour.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    pub fn all(&self) -> Vec<Value> {
        self.0.values().cloned().collect()
    }
}

/// Validates an Event as the API does for this group.
fn validate(namespace: &str, name: &str, event: &Value) -> Result<(), Refusal> {
    let invalid = |what: &str| Err(Refusal::new(422, format!("Event {name:?} is invalid: {what}")));
    let length = |field: &str| event[field].as_str().map_or(0, str::len);
    if name.is_empty() {
        return invalid("metadata.name: required value: name or generateName is required");
    }
    if event["metadata"]["namespace"].as_str().is_some_and(|given| given != namespace) {
        return Err(Refusal::new(400, "the namespace of the object does not match that of the request"));
    }
    // Events on cluster-scoped objects, such as Nodes, are in the namespace `default`.
    if event["regarding"]["namespace"].as_str().unwrap_or("default") != namespace {
        return invalid("involvedObject.namespace: does not match event.namespace");
    }
    if event["eventTime"].as_str().is_none_or(|time| time.parse::<jiff::Timestamp>().is_err()) {
        return invalid("eventTime: required value");
    }
    if length("reportingController") == 0 || length("reportingInstance") == 0 {
        return invalid("reportingController and reportingInstance: required values");
    }
    if length("action") == 0 || length("reason") == 0 {
        return invalid("action and reason: required values");
    }
    if length("action") > 128 || length("reason") > 128 || length("reportingInstance") > 128 {
        return invalid("action, reason, reportingInstance: can have at most 128 characters");
    }
    if length("note") > 1024 {
        return invalid("message: can have at most 1024 characters");
    }
    if event["type"] != "Normal" && event["type"] != "Warning" {
        return invalid("type: has invalid value");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_checked_stored_and_merged() {
        let event = json!({
            "metadata": {"name": "web.1", "namespace": "default"},
            "regarding": {"kind": "Service", "namespace": "default", "name": "web"},
            "eventTime": "2026-01-02T03:04:05.678901Z",
            "reportingController": "portolan", "reportingInstance": "portolan-node-a",
            "action": "Sync", "reason": "Refused", "type": "Warning", "note": "why",
        });
        let mut events = Events::default();
        for (field, wrong) in
            [("eventTime", json!(null)), ("type", json!("Error")), ("reportingInstance", json!(""))]
        {
            let mut event = event.clone();
            event[field] = wrong;
            assert!(events.create("default", event).is_err(), "{field}");
        }
        assert!(events.create("other", event.clone()).is_err());
        events.create("default", event.clone()).unwrap();
        assert!(events.create("default", event).is_err(), "it exists");
        let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:05:05.000000Z"}});
        events.patch("default", "web.1", &series).unwrap();
        assert!(events.patch("default", "web.2", &json!({})).is_err());
        assert_eq!(events.all()[0]["series"]["count"], 2);
        assert_eq!(events.all()[0]["note"], "why");
    }
}
