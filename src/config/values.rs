//! Options as they are given: completed by defaults, compared, and written as a file.

use std::{collections::BTreeMap, io, net::IpAddr, time::Duration};

use serde_json::{Map, Value};

use super::{
    go_duration,
    kind::Kind,
    options::{BIND_ADDRESS, Effect, HEALTHZ_BIND_ADDRESS, METRICS_BIND_ADDRESS, Row, rows},
};

/// The group and version of the file.
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// The kind of the file.
pub const KIND: &str = "KubeProxyConfiguration";

/// Options as they are given by flags or by a file, by name; each may be absent. Their values have the types of their
/// rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options(BTreeMap<&'static str, Value>);

impl Options {
    /// The value of an option.
    pub fn get(&self, row: &Row) -> Option<&Value> {
        self.0.get(row.name())
    }

    /// Sets or removes an option. Returns its previous value.
    pub fn set(&mut self, row: &Row, value: Option<Value>) -> Option<Value> {
        match value {
            Some(value) => self.0.insert(row.name(), value),
            None => self.0.remove(row.name()),
        }
    }

    /// Sets an option as its flag does.
    ///
    /// # Errors
    /// The value is invalid.
    pub fn parse(&mut self, row: &Row, text: &str) -> Result<(), String> {
        let value = row.kind.parse(text)?;
        self.set(row, Some(value));
        Ok(())
    }

    /// Creates options from values as flags take them.
    #[cfg(test)]
    pub(crate) fn of(given: &[(&Row, &str)]) -> Self {
        let mut options = Self::default();
        for (row, text) in given {
            options.parse(row, text).unwrap();
        }
        options
    }

    /// A text without blanks around it; empty if it is absent.
    pub fn text(&self, row: &Row) -> &str {
        self.get(row).and_then(Value::as_str).unwrap_or_default().trim()
    }

    /// A switch; false if it is absent.
    pub fn is_on(&self, row: &Row) -> bool {
        self.get(row) == Some(&Value::Bool(true))
    }

    /// A number; zero if it is absent.
    pub fn number<T: TryFrom<i64> + Default>(&self, row: &Row) -> T {
        self.get(row).and_then(Value::as_i64).and_then(|number| number.try_into().ok()).unwrap_or_default()
    }

    /// A duration; zero if it is absent.
    pub fn duration(&self, row: &Row) -> Duration {
        go_duration::parse(self.text(row)).unwrap_or_default()
    }

    /// The entries of a list.
    pub fn list(&self, row: &Row) -> impl Iterator<Item = &str> {
        self.get(row).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::trim)
    }

    /// Whether an option has its default.
    pub(super) fn is_default(&self, row: &Row) -> bool {
        self.get(row) == row.kind.parse(row.default).ok().as_ref()
    }

    /// Returns these options with the defaults of every option that has an effect here.
    ///
    /// The defaults are kube-proxy's, except `mode`, which is nftables, and `nftables.minSyncPeriod`, which is 0: what
    /// a change costs depends on the change, so waiting saves nothing.
    #[must_use]
    pub fn complete(&self) -> Self {
        let mut all = self.clone();
        let is_v6 = matches!(all.text(&BIND_ADDRESS).parse(), Ok(IpAddr::V6(_)));
        let (any, loopback) = if is_v6 { ("[::]", "[::1]") } else { ("0.0.0.0", "127.0.0.1") };
        for (row, default, port) in
            [(&HEALTHZ_BIND_ADDRESS, any, 10256), (&METRICS_BIND_ADDRESS, loopback, 10249)]
        {
            let address = match (all.text(row), all.text(row).parse()) {
                ("", _) => format!("{default}:{port}"),
                (_, Ok(ip)) => std::net::SocketAddr::new(ip, port).to_string(),
                (given, Err(_)) => given.to_owned(),
            };
            all.set(row, Some(address.into()));
        }
        for row in rows().filter(|row| !row.default.is_empty()) {
            let is_empty = |value: &Value| value == "" || value.as_array().is_some_and(Vec::is_empty);
            if all.get(row).is_none_or(|value| !row.field.is_empty() && is_empty(value)) {
                all.set(row, row.kind.parse(row.default).ok());
            }
        }
        all
    }

    /// The fields of the file that are set and have no effect here, unless they are zero or kube-proxy's default.
    pub(super) fn without_effect(&self) -> impl Iterator<Item = (&'static Row, String)> {
        rows().flat_map(|row| {
            let (Effect::None(_, defaults) | Effect::InPlaceOf(_, defaults)) = row.effect else {
                return Vec::new();
            };
            match (row.kind, self.get(row)) {
                // A gate that is switched off is a request, too.
                (Kind::Gates, Some(Value::Object(gates))) => {
                    gates.keys().map(|gate| (row, format!(".{gate}"))).collect()
                }
                (_, Some(value)) if !is_zero(value) && !defaults.contains(&&*text(value)) => {
                    vec![(row, String::new())]
                }
                _ => Vec::new(),
            }
        })
    }

    /// The fields of the file that differ, as `conntrack.min: 131072 → 65536`.
    pub fn changes_from(&self, before: &Self) -> Vec<String> {
        let changed = rows().filter(|row| !row.field.is_empty() && self.get(row) != before.get(row));
        let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        changed
            .map(|row| format!("{}: {} → {}", row.field, text(before.get(row)), text(self.get(row))))
            .collect()
    }

    /// The file that sets these options, as JSON.
    pub fn to_json(&self) -> Value {
        let mut file = Map::new();
        file.insert("apiVersion".to_owned(), API_VERSION.into());
        file.insert("kind".to_owned(), KIND.into());
        for row in rows().filter(|row| !row.field.is_empty()) {
            if let Some(value) = self.get(row) {
                insert(&mut file, row.field, value);
            }
        }
        Value::Object(file)
    }

    /// The file that sets these options, as YAML.
    pub fn to_yaml(&self) -> io::Result<String> {
        serde_saphyr::to_string(&self.to_json()).map_err(io::Error::other)
    }
}

/// A value as a flag takes it.
pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Adds a field to a mapping, and the sections that contain the field.
fn insert(mapping: &mut Map<String, Value>, field: &str, value: &Value) {
    let Some((section, rest)) = field.split_once('.') else {
        mapping.insert(field.to_owned(), value.clone());
        return;
    };
    if let Value::Object(section) = mapping.entry(section).or_insert_with(|| Map::new().into()) {
        insert(section, rest, value);
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(entries) => entries.is_empty(),
        value => *value == false || *value == "" || *value == "0" || *value == "0s",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{CLUSTER_CIDR, CONNTRACK_MIN, NODEPORT_ADDRESSES};

    #[test]
    fn changes_are_listed_field_by_field() {
        let before = Options::of(&[(&CONNTRACK_MIN, "131072"), (&CLUSTER_CIDR, "10.0.0.0/8")]);
        assert_eq!(before.changes_from(&before), Vec::<String>::new());
        let after = Options::of(&[(&CONNTRACK_MIN, "65536"), (&NODEPORT_ADDRESSES, "192.0.2.0/24")]);
        assert_eq!(
            after.changes_from(&before),
            [
                "conntrack.min: 131072 → 65536",
                r#"clusterCIDR: "10.0.0.0/8" → nothing"#,
                r#"nodePortAddresses: nothing → ["192.0.2.0/24"]"#,
            ]
        );
    }

    #[test]
    fn every_default_is_a_value_and_every_field_and_flag_is_there_once() {
        let (mut fields, mut flags) = (Vec::new(), Vec::new());
        for row in rows() {
            if !row.default.is_empty() {
                row.kind.parse(row.default).expect(row.default);
            }
            fields.extend(Some(row.field).filter(|field| !field.is_empty()));
            flags.extend(row.flags.split_whitespace());
        }
        for names in [&mut fields, &mut flags] {
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(count, names.len());
        }
    }
}
