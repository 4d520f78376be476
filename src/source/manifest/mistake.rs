//! Texts that people take for manifests by mistake, and explanations of text that is not YAML.

use std::collections::BTreeMap;

use serde_saphyr::Error;

use super::size::YAML_DEPTH;

/// Describes a text of a known form that only looks like a manifest. Called only if the text has no usable object.
pub(super) fn recognise(text: &str) -> Option<(Option<u64>, String)> {
    if let Some(line) = template(text) {
        let message =
            "is a template, not a manifest; render it first (helm template CHART | portolan … -f -)";
        return Some((Some(line), message.to_owned()));
    }
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("---"))?;
    let columns: Vec<&str> = first.split_whitespace().collect();
    let is_heading = |column: &&str| !column.contains(|c: char| c.is_lowercase() || c == ':');
    if columns.len() > 1
        && matches!(columns.first(), Some(&"NAME" | &"NAMESPACE"))
        && columns.iter().all(is_heading)
    {
        return Some((None, "is a table as kubectl get prints it; use kubectl get -o yaml".to_owned()));
    }
    let keys: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(text).ok()?;
    let has = |key: &str| keys.contains_key(key);
    if has("kind") {
        return None;
    }
    let message = if has("type") && has("object") {
        "is an event of a watch; the object is under its key `object` (kubectl get without --watch gives objects)"
    } else if has("Name") && has("Namespace") {
        "is text as kubectl describe prints it; use kubectl get -o yaml"
    } else if KUSTOMIZATION.iter().any(|key| has(key)) && !has("items") {
        A_KUSTOMIZATION
    } else if has("name") && has("version") && has("apiVersion") {
        "is the Chart.yaml of a Helm chart, not a manifest; render it first (helm template CHART | portolan … -f -)"
    } else if !has("apiVersion") && !has("metadata") && !has("spec") && !has("items") && !keys.is_empty() {
        "has neither apiVersion nor kind, so it is not a Kubernetes object; if these are values of a Helm chart, \
         render the chart first (helm template CHART | portolan … -f -)"
    } else {
        return None;
    };
    Some((None, message.to_owned()))
}

/// The error for a kustomization.
pub(super) const A_KUSTOMIZATION: &str =
    "is a kustomization, not a manifest; render it first (kubectl kustomize DIRECTORY | portolan … -f -)";

/// Keys that a kustomization has, but no object.
const KUSTOMIZATION: [&str; 9] = [
    "resources",
    "bases",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "configMapGenerator",
    "secretGenerator",
    "namePrefix",
    "commonLabels",
];

/// The first line that has an action of a Go template where YAML has a key, a value or an item.
fn template(text: &str) -> Option<u64> {
    let is_action = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ");
        let value =
            line.split_once(": ").map_or("", |(_, value)| value.trim_start().trim_start_matches(['"', '\'']));
        [line, value].iter().any(|start| start.starts_with("{{") && start.contains("}}"))
    };
    let number = text.lines().position(is_action)?;
    Some(number as u64 + 1)
}

/// Describes a file in a directory of manifests that is not a manifest, by its name.
pub(super) fn by_name(name: &str) -> Option<&'static str> {
    match name {
        "kustomization.yaml" | "kustomization.yml" => Some("a kustomization (kubectl kustomize renders it)"),
        "Chart.yaml" | "values.yaml" | "values.schema.json" => {
            Some("a part of a Helm chart (helm template renders it)")
        }
        _ => None,
    }
}

/// What is wrong with text that cannot be read as YAML, in our own words. `line` is the line where that was noticed.
pub(super) fn explain(error: &Error, line: Option<&str>) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("has the key {key} twice in one mapping");
        }
        Error::DuplicateMappingKey { key: None, .. } => return "has a key twice in one mapping".to_owned(),
        Error::UnknownAnchor { .. } => {
            return "has an alias (*name) of an anchor that does not exist (&name)".to_owned();
        }
        Error::Eof { .. } => return "ends in the middle of a value".to_owned(),
        Error::AliasError { error, .. } => return explain(error, line),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => return TOO_MANY_ALIASES.to_owned(),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            return "merges (<<) something that is not a mapping".to_owned();
        }
        _ => {}
    }
    // The library has no variants for these.
    let message = error.to_string().to_lowercase();
    if message.contains("anchor") || message.contains("alias") {
        return TOO_MANY_ALIASES.to_owned();
    }
    if ["depth", "nesting", "recursion"].iter().any(|word| message.contains(word)) {
        return format!("is nested more than {YAML_DEPTH} levels deep");
    }
    let Some(line) = line.filter(|line| !line.trim().is_empty()) else {
        return "is not valid YAML: something before the end is not closed".to_owned();
    };
    let blank = line.len() - line.trim_start().len();
    let shown = crate::text::one_line(line.trim().chars().take(60).collect::<String>());
    let is_plain = |value: &str| !value.trim_start().starts_with(['"', '\'', '{', '[', '|', '>']);
    let why = if line.get(..blank).is_some_and(|blank| blank.contains('\t')) {
        "; the line begins with a tab, where YAML allows only spaces"
    } else if line.split_once(": ").is_some_and(|(_, value)| is_plain(value) && value.contains(": ")) {
        "; a value with a colon needs quotes"
    } else if [
        line.trim_start().trim_start_matches("- "),
        line.split_once(": ").map_or("", |(_, value)| value.trim()),
    ]
    .iter()
    .any(|text| text.starts_with(['@', '`', '%']))
    {
        "; text that begins like this needs quotes"
    } else {
        "; check the indentation, and look for a quote or bracket that is not closed, here and before"
    };
    format!("is not valid YAML at `{shown}`{why}")
}

const TOO_MANY_ALIASES: &str = "has aliases (*name) that expand to more than a manifest can hold";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_recognised_by_their_keys() {
        let part = |text: &str| recognise(text).map(|(_, message)| message).unwrap_or_default();
        for (text, expected) in [
            ("metadata:\n  name: {{ .Values.name }}\n", "is a template"),
            ("{{- if .Values.on }}\nkind: Service\n{{- end }}\n", "is a template"),
            ("NAME  TYPE  CLUSTER-IP\nweb   ClusterIP  10.96.0.1\n", "is a table"),
            ("NAMESPACE  NAME\nshop  web\n", "is a table"),
            ("Name:  web\nNamespace: shop\n", "kubectl describe"),
            (r#"{"type": "ADDED", "object": {"kind": "Service"}}"#, "is an event of a watch"),
            ("resources: [a.yaml]\n", "is a kustomization"),
            ("apiVersion: v2\nname: web\nversion: 1.0.0\n", "is the Chart.yaml"),
            ("replicaCount: 1\n", "values of a Helm chart"),
            ("kind: Service\nname: x\n", ""),
            ("apiVersion: v1\nmetadata: {name: x}\n", ""),
            ("data:\n  a: 'x {{ y }}'\nmetadata: {}\n", ""),
        ] {
            assert!(
                part(text).contains(expected) && part(text).is_empty() == expected.is_empty(),
                "{text}: {}",
                part(text)
            );
        }
    }
}
