//! Fields that are set but mean nothing here.

use serde_json::Value;

use super::{KubeProxyConfiguration, changes::leaves};

/// Fields without meaning, and those below them.
const WITHOUT_MEANING: [&str; 19] = [
    "clientConnection.acceptContentTypes",
    "clientConnection.burst",
    "clientConnection.contentType",
    "clientConnection.qps",
    "configSyncPeriod",
    "conntrack.max",
    "enableProfiling",
    "featureGates",
    "iptables",
    "ipvs",
    "logging.flushFrequency",
    "logging.options",
    "logging.vmodule",
    "portRange",
    "resourceContainer",
    "showHiddenMetricsForVersion",
    "udpIdleTimeout",
    "windowsRunAsService",
    "winkernel",
];

/// What kube-proxy sets by default and writes with `--write-config-to`: nobody asked for it.
const DEFAULTS: [(&str, &str); 15] = [
    ("clientConnection.burst", "10"),
    ("clientConnection.contentType", "application/vnd.kubernetes.protobuf"),
    ("clientConnection.qps", "5"),
    ("clientConnection.qps", "5.0"),
    ("configSyncPeriod", "15m0s"),
    ("iptables.localhostNodePorts", "true"),
    ("iptables.masqueradeBit", "14"),
    ("iptables.minSyncPeriod", "1s"),
    ("iptables.syncPeriod", "30s"),
    ("ipvs.minSyncPeriod", "1s"),
    ("ipvs.syncPeriod", "30s"),
    ("logging.flushFrequency", "5s"),
    ("logging.flushFrequency", "5000000000"),
    ("resourceContainer", "/kube-proxy"),
    ("udpIdleTimeout", "250ms"),
];

impl KubeProxyConfiguration {
    /// The fields that are set to something else than nothing or kube-proxy's default, and mean nothing here.
    pub fn ineffective(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for (field, value) in leaves(self) {
            let is_below = |prefix: &str| {
                field.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            let text = match &value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let is_default = DEFAULTS.iter().any(|default| *default == (&*field, &*text));
            // A gate that is switched off was said just as well as one that is switched on.
            let is_zero = is_zero(&value) && !field.starts_with("featureGates.");
            if WITHOUT_MEANING.iter().any(|prefix| is_below(prefix)) && !is_zero && !is_default {
                // A list is one field.
                let field = field.split('[').next().unwrap_or(&field);
                if fields.last().is_none_or(|last| last != field) {
                    fields.push(field.to_owned());
                }
            }
        }
        fields
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
