//! The chart's README: how to install it, and every value with its comment in `values.yaml`.

use std::{fmt::Write, fs};

use crate::shipped;

const HEAD: &str = "# Portolan's chart

<!-- Generated from values.yaml; `make generate` writes it. -->

A Kubernetes service proxy in place of kube-proxy: a DaemonSet, its configuration, its rights, and optionally the
objects that Prometheus and Grafana need. Stop kube-proxy on a node before Portolan starts there, or at the same time;
the page [Replacing kube-proxy](https://github.com/portolan-proxy/portolan/blob/main/docs/replace-kube-proxy.md)
explains how, and how to go back.

```sh
helm install portolan docker/helm/portolan -n kube-system --set apiServer=https://192.0.2.10:6443 \\
  --set image.repository=REGISTRY/portolan --set config.clusterCIDR=10.244.0.0/16
```

Two values must be set: `apiServer`, and `config.clusterCIDR` or another `config.detectLocalMode`. Values are checked
against [values.schema.json](values.schema.json), which rejects misspelt names. The memory limit is for up to 50,000
Services; for more, see the page above.

`helm uninstall` ends the agents and leaves their rules on the nodes; `portolan cleanup` removes them.

## Values

| Value | Default | Meaning |
|---|---|---|
";

/// A value in `values.yaml`.
struct Entry {
    path: String,
    default: String,
    comment: String,
}

/// Returns the README.
pub fn readme() -> String {
    let mut text = HEAD.to_owned();
    for Entry { path, default, comment } in entries() {
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "| `{path}` | {default} | {} |", comment.replace('|', "\\|"));
    }
    text
}

/// Returns the values in order. A value that holds others is included only if it has a comment; of a list of objects,
/// only the last line is shown.
fn entries() -> Vec<Entry> {
    let values = fs::read_to_string(shipped("helm/portolan/values.yaml")).unwrap();
    let mut entries = Vec::new();
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment = Vec::new();
    let mut lines = values.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        if let Some(words) = trimmed.strip_prefix('#') {
            comment.push(words.trim().to_owned());
            continue;
        }
        let Some((key, default)) = trimmed.split_once(':').filter(|_| !trimmed.starts_with('-')) else {
            comment.clear();
            continue;
        };
        parents.retain(|(depth, _)| *depth < indent);
        let path: Vec<&str> = parents.iter().map(|(_, key)| key.as_str()).chain([key]).collect();
        let path = path.join(".");
        let mut default = default.trim().to_owned();
        // A list on the following lines.
        while let Some(item) = lines.peek().and_then(|next| next.trim_start().strip_prefix("- ")) {
            default = format!("[{{{item}}}]");
            lines.next();
        }
        if !default.is_empty() || !comment.is_empty() {
            entries.push(Entry { path, default, comment: comment.join(" ") });
        }
        comment.clear();
        parents.push((indent, key.to_owned()));
    }
    entries
}

#[test]
fn every_value_is_there() {
    let paths: Vec<String> = entries().into_iter().map(|entry| entry.path).collect();
    for path in [
        "apiServer",
        "image.digest",
        "config.clusterCIDR",
        "config.conntrack.min",
        "dashboard.labels.grafana_dashboard",
    ] {
        assert!(paths.contains(&path.to_owned()), "{path} is not among {paths:?}");
    }
    let mut sorted = paths.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), paths.len(), "a value is there twice");
}
