//! Writing a configuration, as [`super::read`] takes it.

use std::io;

use serde_json::Value;

use super::KubeProxyConfiguration;

impl KubeProxyConfiguration {
    /// The fields that are set, in the order of their names.
    pub fn to_json(&self) -> io::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        prune(&mut value);
        Ok(value)
    }

    /// The same as YAML.
    pub fn to_yaml(&self) -> io::Result<String> {
        serde_saphyr::to_string(&self.to_json()?).map_err(io::Error::other)
    }
}

/// Removes what says nothing.
fn prune(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(prune);
        fields.retain(|_, value| match value {
            Value::Null => false,
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        });
    }
}
