//! From flags to a configuration.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{KubeProxyConfiguration, Text, VModuleItem};
use crate::config::{
    arguments::{NodeArgs, RunArgs},
    settings::{Problem, SettingsError},
};

impl From<&NodeArgs> for KubeProxyConfiguration {
    fn from(args: &NodeArgs) -> Self {
        let mut configuration = Self {
            hostname_override: args.hostname_override.clone(),
            cluster_cidr: args.cluster_cidr.clone(),
            node_port_addresses: (!args.nodeport_addresses.is_empty())
                .then(|| list(&args.nodeport_addresses)),
            detect_local_mode: args.detect_local_mode.clone(),
            ..Self::default()
        };
        configuration.detect_local.bridge_interface.clone_from(&args.pod_bridge_interface);
        configuration.detect_local.interface_name_prefix.clone_from(&args.pod_interface_name_prefix);
        configuration.nftables.masquerade_bit = args.masquerade_bit;
        configuration.nftables.masquerade_all = args.masquerade_all;
        configuration
    }
}

impl TryFrom<&RunArgs> for KubeProxyConfiguration {
    type Error = SettingsError;

    fn try_from(args: &RunArgs) -> Result<Self, SettingsError> {
        let mut all = Self::from(&args.node);
        let RunArgs { api, servers, sync, conntrack, process, ineffective, .. } = args;
        all.mode.clone_from(&args.proxy_mode);
        all.client_connection.kubeconfig.clone_from(&api.kubeconfig);
        all.healthz_bind_address = listener(servers.healthz_bind_address.as_deref(), servers.healthz_port);
        all.metrics_bind_address = listener(servers.metrics_bind_address.as_deref(), servers.metrics_port);
        all.bind_address.clone_from(&servers.bind_address);
        all.bind_address_hard_fail = servers.bind_address_hard_fail;
        all.nftables.sync_period = sync.iptables_sync_period;
        all.nftables.min_sync_period = sync.iptables_min_sync_period;
        all.conntrack.max_per_core = conntrack.conntrack_max_per_core;
        all.conntrack.min = conntrack.conntrack_min;
        all.conntrack.tcp_established_timeout = conntrack.conntrack_tcp_timeout_established;
        all.conntrack.tcp_close_wait_timeout = conntrack.conntrack_tcp_timeout_close_wait;
        all.conntrack.tcp_be_liberal = conntrack.conntrack_tcp_be_liberal;
        all.conntrack.udp_timeout = conntrack.conntrack_udp_timeout;
        all.conntrack.udp_stream_timeout = conntrack.conntrack_udp_timeout_stream;
        all.oom_score_adj = process.oom_score_adj;
        all.logging.format.clone_from(&process.logging_format);
        all.logging.verbosity = process.verbosity;

        all.config_sync_period = ineffective.config_sync_period;
        all.feature_gates = feature_gates(&ineffective.feature_gates)?;
        all.iptables.localhost_node_ports = ineffective.iptables_localhost_nodeports;
        if !ineffective.ipvs_exclude_cidrs.is_empty() {
            all.ipvs.exclude_cidrs = Some(list(&ineffective.ipvs_exclude_cidrs));
        }
        all.ipvs.min_sync_period = ineffective.ipvs_min_sync_period;
        all.ipvs.scheduler.clone_from(&ineffective.ipvs_scheduler);
        all.ipvs.strict_arp = ineffective.ipvs_strict_arp;
        all.ipvs.sync_period = ineffective.ipvs_sync_period;
        all.ipvs.tcp_timeout = ineffective.ipvs_tcp_timeout;
        all.ipvs.tcp_fin_timeout = ineffective.ipvs_tcpfin_timeout;
        all.ipvs.udp_timeout = ineffective.ipvs_udp_timeout;
        all.client_connection.burst = ineffective.kube_api_burst;
        all.client_connection.content_type.clone_from(&ineffective.kube_api_content_type);
        all.client_connection.qps = ineffective.kube_api_qps;
        all.logging.flush_frequency = ineffective.log_flush_frequency.map(|period| Text(period.to_string()));
        all.logging.vmodule = vmodule(&ineffective.vmodule)?;
        let options = &mut all.logging.options;
        options.json.info_buffer_size = ineffective.log_json_info_buffer_size.clone().map(Text);
        options.json.split_stream = ineffective.log_json_split_stream;
        options.text.info_buffer_size = ineffective.log_text_info_buffer_size.clone().map(Text);
        options.text.split_stream = ineffective.log_text_split_stream;
        all.enable_profiling = ineffective.profiling;
        all.port_range.clone_from(&ineffective.proxy_port_range);
        all.show_hidden_metrics_for_version.clone_from(&ineffective.show_hidden_metrics_for_version);
        Ok(all)
    }
}

/// The address of a server whose port may be given apart, as kube-proxy's deprecated flags do: it completes an
/// address without one, and 0 is no server.
fn listener(address: Option<&str>, port: Option<u16>) -> Option<String> {
    match (address, port) {
        (_, Some(0)) => Some(String::new()),
        (Some(address), Some(port)) => match address.trim().parse::<IpAddr>() {
            Ok(ip) => Some(SocketAddr::new(ip, port).to_string()),
            Err(_) => Some(address.to_owned()),
        },
        (address, _) => address.map(str::to_owned),
    }
}

/// The entries of a list that may be repeated and separated by commas.
fn entries(given: &[String]) -> impl Iterator<Item = &str> {
    given.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|entry| !entry.is_empty())
}

fn list(given: &[String]) -> Vec<String> {
    entries(given).map(str::to_owned).collect()
}

/// `Gate=true,Other=false`.
fn feature_gates(given: &[String]) -> Result<Option<BTreeMap<String, bool>>, SettingsError> {
    let gate = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        let value = crate::config::arguments::boolean(value.trim()).ok()?;
        Some((name.trim().to_owned(), value))
    };
    pairs("--feature-gates", "Gate=true", given, gate)
}

/// `file=4,other=2`.
fn vmodule(given: &[String]) -> Result<Option<Vec<VModuleItem>>, SettingsError> {
    let item = |entry: &str| {
        let (pattern, verbosity) = entry.split_once('=')?;
        let verbosity = Some(verbosity.trim().parse().ok()?);
        Some(VModuleItem { file_pattern: Some(pattern.trim().to_owned()), verbosity })
    };
    pairs("--vmodule", "file=4", given, item)
}

fn pairs<T, C: FromIterator<T>>(
    flag: &str,
    example: &'static str,
    given: &[String],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<C>, SettingsError> {
    let read = |entry: &str| {
        let error = || SettingsError::new(flag, Problem::NotLike { value: entry.to_owned(), example });
        read(entry).ok_or_else(error)
    };
    if given.is_empty() { Ok(None) } else { entries(given).map(read).collect::<Result<C, _>>().map(Some) }
}
