//! Configurations that tools and distributions write for kube-proxy: the agent starts with the values that kube-proxy
//! would use. They are written from the documented fields.

use std::time::Duration;

use portolan::config::settings::{DetectLocal, RunSettings};

use crate::{
    answers::resolve,
    process::{HEAD, TestFile},
};

/// The file that kubeadm 1.13 to 1.24 wrote, with the fields of that time; the mode is empty.
const OLD_KUBEADM: &str = "\
bindAddress: 0.0.0.0
clientConnection:
  acceptContentTypes: \"\"
  burst: 10
  contentType: application/vnd.kubernetes.protobuf
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 5
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 15m0s
conntrack:
  max: null
  maxPerCore: 32768
  min: 131072
  tcpCloseWaitTimeout: 1h0m0s
  tcpEstablishedTimeout: 24h0m0s
enableProfiling: false
healthzBindAddress: 0.0.0.0:10256
hostnameOverride: \"\"
iptables:
  masqueradeAll: false
  masqueradeBit: 14
  minSyncPeriod: 0s
  syncPeriod: 30s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: \"\"
  syncPeriod: 30s
metricsBindAddress: 127.0.0.1:10249
mode: \"\"
nodePortAddresses: null
oomScoreAdj: -999
portRange: \"\"
resourceContainer: /kube-proxy
udpIdleTimeout: 250ms
";

/// The file that kubeadm 1.25 to 1.36 writes: most fields are zero, so kube-proxy's defaults take effect.
const KUBEADM: &str = "\
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: \"\", burst: 0, contentType: \"\", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: \"\", interfaceNamePrefix: \"\"}
detectLocalMode: \"\"
enableProfiling: false
healthzBindAddress: \"\"
hostnameOverride: \"\"
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: \"\", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: \"0\"}, text: {infoBufferSize: \"0\"}}, verbosity: 0}
metricsBindAddress: \"\"
mode: \"\"
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: \"\"
showHiddenMetricsForVersion: \"\"
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: \"\", rootHnsEndpointName: \"\", sourceVip: \"\"}
";

/// Returns the settings from a file and flags.
fn settings(body: &str, flags: &[&str]) -> RunSettings {
    let file = TestFile::new(&format!("{HEAD}{body}"));
    resolve(&[&["--config", &file.name()], flags].concat())
}

/// Asserts kube-proxy's defaults, and kubeadm's values for the cluster.
fn assert_kubeadm_s(settings: &RunSettings, what: &str) {
    let networks = DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]);
    assert_eq!(settings.node.detect_local, networks, "{what}");
    let config = &settings.node.config;
    assert_eq!((config.masquerade_all, config.masquerade_bit), (false, 14), "{what}");
    let servers = [settings.healthz, settings.metrics].map(|at| at.map(|at| at.to_string()));
    assert_eq!(servers, ["0.0.0.0:10256", "127.0.0.1:10249"].map(|at| Some(at.to_owned())), "{what}");
    assert_eq!(settings.sync.period, Duration::from_secs(30), "{what}");
    let conntrack = settings.conntrack;
    assert_eq!((conntrack.max_per_core.value, conntrack.min.value), (32_768, 131_072), "{what}");
    assert_eq!((conntrack.tcp_established.value, conntrack.tcp_close_wait.value), (86_400, 3_600), "{what}");
    assert_eq!(settings.oom_score_adj.value, -999, "{what}");
    assert_eq!(settings.without_effect, Vec::<String>::new(), "{what}");
    assert!(settings.warnings.is_empty(), "{what}: {:?}", settings.warnings);
}

#[test]
fn kubeadm_of_every_release() {
    for (what, body) in [("1.13 to 1.24", OLD_KUBEADM), ("1.25 to 1.36", KUBEADM)] {
        assert_kubeadm_s(&settings(body, &[]), what);
        // In a mode that many guides recommend, overridden by one flag.
        for mode in ["iptables", "ipvs"] {
            let body = body.replace("mode: \"\"", &format!("mode: {mode}"));
            assert_kubeadm_s(&settings(&body, &["--proxy-mode=nftables"]), what);
        }
        let body = body.replace("mode: \"\"", "mode: nftables");
        assert_kubeadm_s(&settings(&body, &["--hostname-override=node-1"]), what);
    }
}

#[test]
fn kubeadm_with_masquerading_of_everything_keeps_it() {
    let body = OLD_KUBEADM.replace("masqueradeAll: false", "masqueradeAll: true");
    let settings = settings(&body.replace("masqueradeBit: 14", "masqueradeBit: 13"), &[]);
    assert_eq!((settings.node.config.masquerade_all, settings.node.config.masquerade_bit), (true, 13));
}

/// kind's nodes are containers, which share the machine's sysctls.
#[test]
fn kind() {
    let body = KUBEADM
        .replace("mode: \"\"", "mode: nftables")
        .replace("maxPerCore: null", "maxPerCore: 0")
        .replace("tcpEstablishedTimeout: null", "tcpEstablishedTimeout: 0s")
        .replace("tcpCloseWaitTimeout: null", "tcpCloseWaitTimeout: 0s")
        .replace("10.244.0.0/16", "10.244.0.0/16,fd00:10:244::/56")
        .replace("bindAddress: 0.0.0.0\n", "bindAddress: \"::\"\n");
    let settings = settings(&body, &[]);
    let conntrack = settings.conntrack;
    assert_eq!(conntrack.max_per_core.value, 0);
    assert_eq!((conntrack.tcp_established.value, conntrack.tcp_close_wait.value), (0, 0));
    let servers = [settings.healthz, settings.metrics].map(|at| at.unwrap().to_string());
    assert_eq!(servers, ["[::]:10256", "[::1]:10249"]);
    assert!(matches!(&settings.node.detect_local, DetectLocal::ClusterCidr(networks) if networks.len() == 2));
}

/// A `ConfigMap` with the key `config`, without Pod networks, in another mode.
#[test]
fn eks() {
    let body = "bindAddress: 0.0.0.0\nclientConnection: {acceptContentTypes: \"\", burst: 10, \
                contentType: application/vnd.kubernetes.protobuf, kubeconfig: /var/lib/kube-proxy/kubeconfig, qps: 5}\n\
                clusterCIDR: \"\"\nconfigSyncPeriod: 15m0s\nconntrack: {maxPerCore: 32768, min: 131072, \
                tcpCloseWaitTimeout: 1h0m0s, tcpEstablishedTimeout: 24h0m0s}\nenableProfiling: false\n\
                healthzBindAddress: 0.0.0.0:10256\nhostnameOverride: \"\"\niptables: {masqueradeAll: false, \
                masqueradeBit: 14, minSyncPeriod: 0s, syncPeriod: 30s}\nipvs: {excludeCIDRs: null, minSyncPeriod: 0s, \
                scheduler: \"\", syncPeriod: 30s}\nmetricsBindAddress: 0.0.0.0:10249\nmode: iptables\n\
                nodePortAddresses: null\noomScoreAdj: -998\nportRange: \"\"\n";
    let indented = format!("{HEAD}{body}").replace('\n', "\n    ");
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kube-proxy-config}}\ndata:\n  config: |-\n    {indented}"
    );
    let file = TestFile::new(map.trim_end());
    let settings = resolve(&["--config", &file.name(), "--proxy-mode=nftables"]);
    assert_eq!(settings.node.detect_local, DetectLocal::ClusterCidr(Vec::new()));
    assert_eq!(settings.metrics.unwrap().to_string(), "0.0.0.0:10249");
    assert_eq!(settings.oom_score_adj.value, -998);
    assert_eq!(settings.without_effect, Vec::<String>::new());
}

/// Everything but kube-proxy's defaults is set for ipvs. These fields have no effect here and are reported.
#[test]
fn kubespray() {
    let body = KUBEADM
        .replace("mode: \"\"", "mode: ipvs")
        .replace("strictARP: false", "strictARP: true")
        .replace("scheduler: \"\"", "scheduler: rr")
        .replace("healthzBindAddress: \"\"", "healthzBindAddress: 192.0.2.10:10256")
        .replace("hostnameOverride: \"\"", "hostnameOverride: \"node1\"")
        .replace("nodePortAddresses: null", "nodePortAddresses: []")
        .replace("oomScoreAdj: null", "oomScoreAdj: -999");
    let settings = settings(&body, &["--proxy-mode=nftables"]);
    assert_eq!(settings.without_effect, ["ipvs.scheduler", "ipvs.strictARP"]);
    assert_eq!(settings.healthz.unwrap().to_string(), "192.0.2.10:10256");
}

/// Flags only.
#[test]
fn talos() {
    let settings = resolve(&[
        "--cluster-cidr=10.244.0.0/16",
        "--conntrack-max-per-core=0",
        "--hostname-override=node-a",
        "--kubeconfig=/etc/kubernetes/kubeconfig",
        "--proxy-mode=nftables",
    ]);
    assert_eq!(settings.conntrack.max_per_core.value, 0);
    assert_eq!(settings.without_effect, Vec::<String>::new());
    assert_eq!(settings.api.kubeconfig.unwrap().to_str(), Some("/etc/kubernetes/kubeconfig"));
}

/// An unknown field of a later release, wherever it is, does not affect other fields.
#[test]
fn a_later_release() {
    let body = KUBEADM.replace("nftables: {", "nftables: {aLaterField: {a: [1]}, ");
    let settings = settings(&format!("{body}anotherSection: {{enabled: true}}\n"), &[]);
    assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
    assert_eq!(settings.node.config.masquerade_bit, 14);
}
