//! What differs between two configurations, field by field.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::KubeProxyConfiguration;

/// A field whose value is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// The field, as `conntrack.min`.
    pub field: String,
    /// Its value before, as JSON; `None` if it was not set.
    pub before: Option<String>,
    /// Its value now.
    pub after: Option<String>,
}

impl fmt::Display for FieldChange {
    /// `conntrack.min: 131072 → 65536`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(f, "{}: {} → {}", self.field, text(&self.before), text(&self.after))
    }
}

/// The fields that differ, in the order of their names.
pub fn changes(before: &KubeProxyConfiguration, after: &KubeProxyConfiguration) -> Vec<FieldChange> {
    let (before, mut after) = (leaves(before), leaves(after));
    let mut changes: Vec<FieldChange> = Vec::new();
    for (field, value) in before {
        let other = after.remove(&field);
        if other.as_ref() != Some(&value) {
            let after = other.map(|value| value.to_string());
            changes.push(FieldChange { field, before: Some(value.to_string()), after });
        }
    }
    let added = after.into_iter().map(|(field, value)| FieldChange {
        field,
        before: None,
        after: Some(value.to_string()),
    });
    changes.extend(added);
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// The fields that are set.
pub fn fields_set(configuration: &KubeProxyConfiguration) -> Vec<String> {
    leaves(configuration).into_keys().collect()
}

/// All values that are set, by field.
pub(super) fn leaves(configuration: &KubeProxyConfiguration) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    // The type has nothing that JSON could not say.
    collect(String::new(), serde_json::to_value(configuration).unwrap_or_default(), &mut leaves);
    leaves
}

fn collect(field: String, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                let field = if field.is_empty() { name } else { format!("{field}.{name}") };
                collect(field, value, leaves);
            }
        }
        Value::Array(entries) => {
            for (i, value) in entries.into_iter().enumerate() {
                collect(format!("{field}[{i}]"), value, leaves);
            }
        }
        value => _ = leaves.insert(field, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_told_field_by_field() {
        let mut before = KubeProxyConfiguration::default();
        before.conntrack.min = Some(131_072);
        before.cluster_cidr = Some("10.0.0.0/8".into());
        let mut after = before.clone();
        assert_eq!(changes(&before, &after), []);
        after.conntrack.min = Some(65_536);
        after.cluster_cidr = None;
        after.node_port_addresses = Some(vec!["192.0.2.0/24".into()]);
        let told: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                r#"clusterCIDR: "10.0.0.0/8" → nothing"#,
                "conntrack.min: 131072 → 65536",
                r#"nodePortAddresses[0]: nothing → "192.0.2.0/24""#,
            ]
        );
    }
}
