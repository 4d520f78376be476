//! The schema of the chart's values, which helm checks. The part for `config` is generated from the options.

use std::fs;

use portolan::config::{Kind, rows};
use serde_json::{Map, Value, json};

use crate::{documents, shipped};

/// Returns the schema.
pub fn schema() -> Value {
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let texts = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    let object = || json!({"type": "object"});
    let objects = || json!({"type": "array", "items": {"type": "object"}});
    let strict = |properties: Value| json!({"type": "object", "additionalProperties": false, "properties": properties});
    let mut schema = strict(json!({
        "apiServer": {"type": "string", "pattern": "^(https?://.*)?$"},
        "image": strict(json!({
            "repository": text(),
            "tag": text(),
            "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
        })),
        "imagePullSecrets": objects(),
        "fullnameOverride": text(),
        "nameOverride": text(),
        "config": config(),
        "extraArgs": {"type": "array", "items": {"type": "string"}},
        "extraEnv": objects(),
        "extraVolumes": objects(),
        "extraVolumeMounts": objects(),
        "removeTaint": text(),
        "initSysctls": flag(),
        "rbac": strict(json!({"create": flag()})),
        "serviceAccount": strict(json!({"create": flag(), "name": text(), "annotations": texts()})),
        "resources": object(),
        "nodeSelector": texts(),
        "tolerations": objects(),
        "affinity": object(),
        "podAnnotations": texts(),
        "podLabels": texts(),
        "priorityClassName": text(),
        "updateStrategy": object(),
        "podMonitor": strict(json!({"enabled": flag(), "labels": texts(), "interval": text(), "job": text()})),
        "prometheusRule": strict(json!({"enabled": flag(), "labels": texts()})),
        "dashboard": strict(json!({"enabled": flag(), "labels": texts()})),
        // Helm sets it when this chart is part of another.
        "global": object(),
    }));
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Values of the chart portolan");
    schema
}

/// Returns the schema of `KubeProxyConfiguration`. Null means the default, which is how kubeadm writes it.
fn config() -> Value {
    let mut config = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"enum": ["kubeproxy.config.k8s.io/v1alpha1"]},
            "kind": {"enum": ["KubeProxyConfiguration"]},
        },
    });
    for row in rows().filter(|row| !row.field.is_empty()) {
        let mut at = &mut config;
        let (path, name) = row.field.rsplit_once('.').unwrap_or(("", row.field));
        for part in path.split('.').filter(|part| !part.is_empty()) {
            let properties = at["properties"].as_object_mut().unwrap();
            at = properties.entry(part).or_insert_with(
                || json!({"type": ["object", "null"], "additionalProperties": false, "properties": {}}),
            );
        }
        let mut field = match row.kind {
            Kind::Gates | Kind::Vmodule => json!({"type": ["object", "array", "null"]}),
            Kind::Boolean => json!({"type": ["boolean", "null"]}),
            Kind::Number(..) => json!({"type": ["integer", "null"]}),
            Kind::Float => json!({"type": ["number", "null"]}),
            Kind::Duration | Kind::Period | Kind::Nanoseconds | Kind::Size => {
                json!({"type": ["string", "number", "null"]})
            }
            Kind::List(_) => json!({"type": ["array", "null"], "items": {"type": "string"}}),
            Kind::Text(_) | Kind::TextOr(..) | Kind::Choice(..) => json!({"type": ["string", "null"]}),
        };
        field["description"] = row.help.split_whitespace().collect::<Vec<_>>().join(" ").into();
        at["properties"][name] = field;
    }
    config
}

/// Finds the values that violate the schema. Supports only the keywords that the schema uses; any other is an error.
fn problems(value: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    for (keyword, argument) in schema.as_object().unwrap() {
        match keyword.as_str() {
            // Only helm checks the patterns; the agent checks these values itself.
            "$schema" | "title" | "description" | "properties" | "pattern" => {}
            "type" => {
                let names: Vec<&str> = match argument {
                    Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
                    name => name.as_str().into_iter().collect(),
                };
                let is_number = names.contains(&"number") && value.is_number();
                if !names.contains(&type_of(value)) && !is_number {
                    found.push(format!("{path}: not of type {argument}"));
                }
            }
            "enum" => {
                let is_known = argument.as_array().unwrap().contains(value);
                found.extend((!is_known).then(|| format!("{path}: none of {argument}")));
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    problems(item, argument, &format!("{path}[{i}]"), found);
                }
            }
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    let path = format!("{path}.{key}");
                    match schema["properties"].get(key).unwrap_or(argument) {
                        Value::Bool(false) => found.push(format!("{path}: unknown")),
                        schema => problems(value, schema, &path, found),
                    }
                }
            }
            other => panic!("{path}: the check does not know {other}"),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check(values: &Value) -> Vec<String> {
    let mut found = Vec::new();
    problems(values, &schema(), "", &mut found);
    found
}

fn read(path: &str) -> Value {
    documents(&fs::read_to_string(shipped(path)).unwrap()).remove(0)
}

#[test]
fn the_values_that_are_shipped_fit() {
    for file in ["values.yaml", "examples/everything.yaml"] {
        assert_eq!(check(&read(&format!("helm/portolan/{file}"))), [""; 0], "{file}");
    }
    let defaults = read("helm/portolan/values.yaml");
    let properties: Map<String, Value> = schema()["properties"].as_object().unwrap().clone();
    let unset: Vec<_> =
        properties.keys().filter(|key| defaults.get(key).is_none() && *key != "global").collect();
    assert!(unset.is_empty(), "values.yaml has no default of {unset:?}");
}

#[test]
fn kubeadm_s_own_configuration_fits() {
    let text = include_str!("../configuration/data/kubeadm.conf");
    assert_eq!(check(&json!({ "config": documents(text).remove(0) })), [""; 0]);
}

#[test]
fn what_is_misspelt_or_of_another_type_does_not() {
    for (values, problem) in [
        (json!({"nodeselector": {}}), ".nodeselector: unknown"),
        (json!({"config": {"clusterCidr": "10.0.0.0/8"}}), ".config.clusterCidr: unknown"),
        (json!({"config": {"clusterCIDR": ["10.0.0.0/8"]}}), ".config.clusterCIDR: not of type"),
        (json!({"config": {"conntrack": {"maxpercore": 1}}}), ".config.conntrack.maxpercore: unknown"),
        (json!({"rbac": true}), ".rbac: not of type"),
        (json!({"image": {"pullPolicy": "always"}}), ".image.pullPolicy: none of"),
    ] {
        let found = check(&values);
        assert!(found.iter().any(|found| found.starts_with(problem)), "{values}: {found:?}");
    }
}
