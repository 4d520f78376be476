//! What a field means that says nothing.

use std::net::IpAddr;

use super::{API_VERSION, Duration, KIND, KubeProxyConfiguration};

/// `nftables.masqueradeBit`.
pub const DEFAULT_MASQUERADE_BIT: i32 = 14;
/// `oomScoreAdj`, as kube-proxy has it.
pub const DEFAULT_OOM_SCORE_ADJ: i32 = -999;
/// Port of the health server.
const HEALTHZ_PORT: u16 = 10256;
/// Port of the metrics server.
const METRICS_PORT: u16 = 10249;

impl KubeProxyConfiguration {
    /// The same with every default written down that means something here.
    ///
    /// They are kube-proxy's, but for `mode`, which is nftables, and `nftables.minSyncPeriod`, which is 0: what a
    /// change costs depends on the change, so there is nothing to save by waiting.
    #[must_use]
    pub fn complete(&self) -> Self {
        let mut all = self.clone();
        set(&mut all.api_version, API_VERSION);
        set(&mut all.kind, KIND);
        set(&mut all.mode, "nftables");
        set(&mut all.bind_address, "0.0.0.0");
        let is_v6 = all.bind_address.as_deref().is_some_and(|ip| matches!(ip.parse(), Ok(IpAddr::V6(_))));
        let (any, loopback) = if is_v6 { ("[::]", "[::1]") } else { ("0.0.0.0", "127.0.0.1") };
        listen(&mut all.healthz_bind_address, any, HEALTHZ_PORT);
        listen(&mut all.metrics_bind_address, loopback, METRICS_PORT);
        all.bind_address_hard_fail.get_or_insert(false);
        set(&mut all.detect_local_mode, "ClusterCIDR");
        if all.node_port_addresses.as_ref().is_none_or(Vec::is_empty) {
            all.node_port_addresses = Some(vec!["primary".to_owned()]);
        }
        all.oom_score_adj.get_or_insert(DEFAULT_OOM_SCORE_ADJ);

        let nftables = &mut all.nftables;
        nftables.masquerade_bit.get_or_insert(DEFAULT_MASQUERADE_BIT);
        nftables.masquerade_all.get_or_insert(false);
        if nftables.sync_period.is_none_or(Duration::is_zero) {
            nftables.sync_period = Some(Duration::from_secs(30));
        }
        nftables.min_sync_period.get_or_insert_default();

        let conntrack = &mut all.conntrack;
        conntrack.max_per_core.get_or_insert(32 * 1024);
        conntrack.min.get_or_insert(128 * 1024);
        conntrack.tcp_established_timeout.get_or_insert(Duration::from_secs(24 * 3600));
        conntrack.tcp_close_wait_timeout.get_or_insert(Duration::from_secs(3600));
        conntrack.tcp_be_liberal.get_or_insert(false);
        conntrack.udp_timeout.get_or_insert_default();
        conntrack.udp_stream_timeout.get_or_insert_default();

        set(&mut all.logging.format, "text");
        all.logging.verbosity.get_or_insert(0);
        all
    }
}

/// Sets a text that is missing or empty.
fn set(field: &mut Option<String>, default: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(default.to_owned());
    }
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
