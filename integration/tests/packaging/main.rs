//! The files shipped under `docker/`: the kustomize base and overlays, the Helm chart, the cleanup pods, the systemd
//! unit. Only `node`, which runs the containers' commands in network namespaces, needs root.

mod chart;
mod config;
mod dashboard;
mod generated;
mod kustomize;
mod manifests;
mod metrics_page;
mod monitoring;
mod node;
mod rbac;
mod readme;
mod schema;
mod unit;
mod values_schema;
mod workload;

use std::path::PathBuf;

use serde_json::Value;

/// Returns the path of a file or directory under `docker/`.
fn shipped(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docker", path].iter().collect()
}

/// Returns the documents of a YAML text.
fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns everything that can be applied to a cluster, each with a name for messages: bases, overlays, renderings.
fn bundles() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("kustomize base", kustomize::build("kustomize/base")),
        ("kustomize example", kustomize::build("kustomize/overlays/example")),
        ("chart", chart::defaults()),
        ("chart with every value", chart::everything()),
    ]
}

/// Returns the ConfigMap of the agent; another one may hold a dashboard.
#[track_caller]
fn configuration(objects: &[Value]) -> &Value {
    let is_it = |object: &&Value| object["kind"] == "ConfigMap" && object["data"]["config.conf"].is_string();
    objects.iter().find(is_it).expect("there is a configuration")
}

/// Returns the only object of a kind.
#[track_caller]
fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    object
}
