//! Which flag sets which field.

use std::path::PathBuf;

/// Fields and the flags that set them.
const FLAGS: [(&str, &str); 47] = [
    ("bindAddress", "--bind-address"),
    ("bindAddressHardFail", "--bind-address-hard-fail"),
    ("clientConnection.burst", "--kube-api-burst"),
    ("clientConnection.contentType", "--kube-api-content-type"),
    ("clientConnection.kubeconfig", "--kubeconfig"),
    ("clientConnection.qps", "--kube-api-qps"),
    ("clusterCIDR", "--cluster-cidr"),
    ("configSyncPeriod", "--config-sync-period"),
    ("conntrack.maxPerCore", "--conntrack-max-per-core"),
    ("conntrack.min", "--conntrack-min"),
    ("conntrack.tcpBeLiberal", "--conntrack-tcp-be-liberal"),
    ("conntrack.tcpCloseWaitTimeout", "--conntrack-tcp-timeout-close-wait"),
    ("conntrack.tcpEstablishedTimeout", "--conntrack-tcp-timeout-established"),
    ("conntrack.udpStreamTimeout", "--conntrack-udp-timeout-stream"),
    ("conntrack.udpTimeout", "--conntrack-udp-timeout"),
    ("detectLocal.bridgeInterface", "--pod-bridge-interface"),
    ("detectLocal.interfaceNamePrefix", "--pod-interface-name-prefix"),
    ("detectLocalMode", "--detect-local-mode"),
    ("enableProfiling", "--profiling"),
    ("featureGates", "--feature-gates"),
    ("healthzBindAddress", "--healthz-bind-address"),
    ("hostnameOverride", "--hostname-override"),
    ("iptables.localhostNodePorts", "--iptables-localhost-nodeports"),
    ("ipvs.excludeCIDRs", "--ipvs-exclude-cidrs"),
    ("ipvs.minSyncPeriod", "--ipvs-min-sync-period"),
    ("ipvs.scheduler", "--ipvs-scheduler"),
    ("ipvs.strictARP", "--ipvs-strict-arp"),
    ("ipvs.syncPeriod", "--ipvs-sync-period"),
    ("ipvs.tcpFinTimeout", "--ipvs-tcpfin-timeout"),
    ("ipvs.tcpTimeout", "--ipvs-tcp-timeout"),
    ("ipvs.udpTimeout", "--ipvs-udp-timeout"),
    ("logging.flushFrequency", "--log-flush-frequency"),
    ("logging.format", "--logging-format"),
    ("logging.options.json.infoBufferSize", "--log-json-info-buffer-size"),
    ("logging.options.json.splitStream", "--log-json-split-stream"),
    ("logging.options.text.infoBufferSize", "--log-text-info-buffer-size"),
    ("logging.options.text.splitStream", "--log-text-split-stream"),
    ("logging.vmodule", "--vmodule"),
    ("metricsBindAddress", "--metrics-bind-address"),
    ("mode", "--proxy-mode"),
    ("nftables.masqueradeAll", "--masquerade-all"),
    ("nftables.masqueradeBit", "--masquerade-bit"),
    ("nftables.minSyncPeriod", "--iptables-min-sync-period"),
    ("nftables.syncPeriod", "--iptables-sync-period"),
    ("nodePortAddresses", "--nodeport-addresses"),
    ("oomScoreAdj", "--oom-score-adj"),
    ("portRange", "--proxy-port-range"),
];

/// Who said what the configuration is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    #[default]
    Flags,
    /// A file.
    File(PathBuf),
}

impl Origin {
    /// What to call a field in a message: `--conntrack-min`, or `/etc/config.conf: conntrack.min`.
    pub fn name(&self, field: &str) -> String {
        match self {
            Self::Flags => flag(field),
            Self::File(path) => format!("{}: {field}", path.display()),
        }
    }

    /// The same where the file goes without saying.
    pub fn short_name(&self, field: &str) -> String {
        match self {
            Self::Flags => flag(field),
            Self::File(_) => field.to_owned(),
        }
    }
}

/// The flag that sets a field or what contains it.
fn flag(field: &str) -> String {
    let sets = |prefix: &str| {
        field.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let flag = FLAGS.iter().find(|(path, _)| sets(path));
    flag.map_or(field, |(_, flag)| flag).to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_in_the_list_exists() {
        let command = crate::cli::arguments::Cli::command();
        let run = command.find_subcommand("run").unwrap();
        for (field, flag) in FLAGS {
            let name = flag.trim_start_matches('-');
            assert!(run.get_arguments().any(|argument| argument.get_long() == Some(name)), "{field}: {flag}");
        }
    }
}
