//! Configurations as a file has them: written, completed by defaults, and compared field by field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::IpAddr,
};

use serde_json::{Map, Value};

use super::{API_VERSION, Effect, KIND, Options, ROWS, Row};

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
pub fn changes(before: &Options, after: &Options) -> Vec<FieldChange> {
    let (before, after) = (before.fields(), after.fields());
    let fields: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |field: &String| {
        let text = |values: &BTreeMap<String, Value>| values.get(field).map(Value::to_string);
        let (before, after) = (text(&before), text(&after));
        (before != after).then(|| FieldChange { field: field.clone(), before, after })
    };
    fields.into_iter().filter_map(change).collect()
}

impl Options {
    /// The same with the defaults of everything that has an effect here.
    ///
    /// They are kube-proxy's, but for `mode`, which is nftables, and `nftables.minSyncPeriod`, which is 0: what a
    /// change costs depends on the change, so there is nothing to save by waiting.
    #[must_use]
    pub fn complete(&self) -> Self {
        let mut all = self.clone();
        let bind_address = all.bind_address.as_deref().map(str::parse);
        let is_v6 = matches!(bind_address, Some(Ok(IpAddr::V6(_))));
        let (any, loopback) = if is_v6 { ("[::]", "[::1]") } else { ("0.0.0.0", "127.0.0.1") };
        listen(&mut all.healthz_bind_address, any, 10256);
        listen(&mut all.metrics_bind_address, loopback, 10249);
        for row in ROWS.iter().filter(|row| !row.default.is_empty()) {
            let is_empty = |value: &Value| value == "" || value.as_array().is_some_and(Vec::is_empty);
            let is_unset = |value| !row.field.is_empty() && is_empty(&value);
            if (row.get)(&all).is_none_or(is_unset) {
                // A test reads each of them.
                let _ = (row.parse)(&mut all, row.default);
            }
        }
        all
    }

    /// The fields of the file that are set and have no effect here, unless they are zero or kube-proxy's default.
    pub(super) fn without_effect(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for (field, value) in self.fields() {
            let effect = Row::of_field(&field).map(|row| row.effect);
            let Some(Effect::None(_, defaults) | Effect::InPlaceOf(_, defaults)) = effect else { continue };
            let text = text(&value);
            // A feature gate that is switched off asks for something, too.
            let is_zero = is_zero(&value) && !field.starts_with("featureGates.");
            if !is_zero && !defaults.contains(&&*text) {
                // A list is one field.
                fields.push(field.split('[').next().unwrap_or(&field).to_owned());
            }
        }
        fields.dedup();
        fields
    }

    /// All values that are set and that the file has fields for, by field.
    pub(super) fn fields(&self) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        for row in ROWS.iter().filter(|row| !row.field.is_empty()) {
            if let Some(value) = (row.get)(self) {
                flatten(row.field.to_owned(), value, &mut fields);
            }
        }
        fields
    }

    /// The file that sets these options, as JSON.
    pub fn to_json(&self) -> Value {
        let mut file = Map::new();
        file.insert("apiVersion".to_owned(), API_VERSION.into());
        file.insert("kind".to_owned(), KIND.into());
        for row in ROWS.iter().filter(|row| !row.field.is_empty()) {
            if let Some(value) = (row.get)(self) {
                insert(&mut file, row.field, value);
            }
        }
        Value::Object(file)
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> io::Result<String> {
        serde_saphyr::to_string(&self.to_json()).map_err(io::Error::other)
    }
}

/// A value as a flag takes it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Adds to a listener's address what it leaves out.
fn listen(field: &mut Option<String>, address: &str, port: u16) {
    match field.as_deref().map(str::trim) {
        None | Some("") => *field = Some(format!("{address}:{port}")),
        Some(given) => match given.parse() {
            Ok(IpAddr::V4(ip)) => *field = Some(format!("{ip}:{port}")),
            Ok(IpAddr::V6(ip)) => *field = Some(format!("[{ip}]:{port}")),
            Err(_) => {}
        },
    }
}

/// Adds a field to a mapping, with the mappings that it is in.
fn insert(mapping: &mut Map<String, Value>, field: &str, value: Value) {
    match field.split_once('.') {
        None => _ = mapping.insert(field.to_owned(), value),
        Some((section, rest)) => {
            let section = mapping.entry(section).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(section) = section {
                insert(section, rest, value);
            }
        }
    }
}

fn flatten(field: String, value: Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (name, value) in entries {
                flatten(format!("{field}.{name}"), value, fields);
            }
        }
        Value::Array(entries) => {
            for (i, value) in entries.into_iter().enumerate() {
                flatten(format!("{field}[{i}]"), value, fields);
            }
        }
        value => _ = fields.insert(field, value),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0" || text == "0s",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_listed_field_by_field() {
        let before = Options {
            conntrack_min: Some(131_072),
            cluster_cidr: Some("10.0.0.0/8".into()),
            ..Options::default()
        };
        assert_eq!(changes(&before, &before), []);
        let after = Options {
            conntrack_min: Some(65_536),
            nodeport_addresses: Some(vec!["192.0.2.0/24".into()]),
            ..Options::default()
        };
        let changes: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            changes,
            [
                r#"clusterCIDR: "10.0.0.0/8" → nothing"#,
                "conntrack.min: 131072 → 65536",
                r#"nodePortAddresses[0]: nothing → "192.0.2.0/24""#,
            ]
        );
    }

    #[test]
    fn every_default_is_a_value_and_every_field_and_flag_is_there_once() {
        let (mut fields, mut flags) = (Vec::new(), Vec::new());
        for row in ROWS {
            if !row.default.is_empty() {
                (row.parse)(&mut Options::default(), row.default).expect(row.default);
            }
            fields.extend(Some(row.field).filter(|field| !field.is_empty()));
            flags.extend(row.flags.split_whitespace());
            assert_eq!(row.flags.is_empty(), row.placeholder.is_empty(), "{row:?}");
        }
        for names in [&mut fields, &mut flags] {
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(count, names.len());
        }
    }
}
