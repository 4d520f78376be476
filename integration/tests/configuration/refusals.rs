//! Unusable flags and files: one line, exit status 1, and nothing is changed.

use crate::process::{HEAD, KUBEADM, TestFile, conntrack, enter_namespace, portolan, ruleset};

/// Runs the binary and expects one line with these words, and no change in the namespace.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let before = conntrack("tcp_timeout_established");
    let outcome = portolan(arguments);
    let what = format!("{arguments:?}: {outcome:?}");
    assert_eq!(outcome.code, Some(1), "{what}");
    assert_eq!(outcome.stdout, "", "{what}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{what}");
    assert!(outcome.stderr.starts_with("portolan: "), "{what}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} in {what}");
    }
    assert_eq!(ruleset(), "", "{what}");
    assert_eq!(conntrack("tcp_timeout_established"), before, "{what}");
}

#[test]
fn a_wrong_flag_is_named() {
    enter_namespace();
    let long = format!("--table-name={}", "a".repeat(64));
    for (flags, word) in [
        (&["--proxy-mode=iptables"][..], "--proxy-mode=nftables"),
        (&["--proxy-mode=ipvs"], "--proxy-mode: "),
        (&["--proxy-mode=kernelspace"], "--proxy-mode: "),
        (&["--proxy-mode=userspace"], "--proxy-mode: "),
        (&["--cluster-cidr=10.0.0.0"], "--cluster-cidr: "),
        (&["--cluster-cidr=10.0.0.0/33"], "--cluster-cidr: "),
        (&["--cluster-cidr=10.0.0.0/8,172.16.0.0/12"], "--cluster-cidr: "),
        (&["--cluster-cidr=10.0.0.0/8,fd00::/8,fd01::/16"], "--cluster-cidr: "),
        (&["--nodeport-addresses=lan"], "--nodeport-addresses: "),
        (&["--nodeport-addresses=primary,10.0.0.0"], "--nodeport-addresses: "),
        (&["--nodeport-addresses=primary", "--nodeport-addresses=loopback"], "--nodeport-addresses: "),
        (&["--remove-taint=portolan.io/not-ready:NoSchedule"], "--remove-taint: "),
        (&["--remove-taint", "a/b/c"], "--remove-taint: "),
        (&["--masquerade-bit=32"], "--masquerade-bit: "),
        (&["--masquerade-bit=-1"], "--masquerade-bit: "),
        (&["--iptables-masquerade-bit=x"], "--masquerade-bit"),
        (&["--masquerade-all=yes"], "--masquerade-all"),
        (&["--detect-local-mode=Pods"], "--detect-local-mode: "),
        (&["--detect-local-mode=BridgeInterface"], "--pod-bridge-interface: "),
        (&["--detect-local-mode=InterfaceNamePrefix"], "--pod-interface-name-prefix: "),
        (&["--detect-local-mode=BridgeInterface", "--pod-bridge-interface=a/b"], "--pod-bridge-interface: "),
        (&["--hostname-override= "], "--hostname-override: "),
        (&["--bind-address=localhost"], "--bind-address: "),
        (&["--healthz-bind-address=10256"], "--healthz-bind-address: "),
        (&["--healthz-bind-address=0.0.0.0:0"], "--healthz-bind-address: "),
        (&["--healthz-bind-address=0.0.0.0:70000"], "--healthz-bind-address: "),
        (&["--metrics-bind-address=localhost:10249"], "--metrics-bind-address: "),
        (&["--bind-address-hard-fail=2"], "--bind-address-hard-fail"),
        (&["--iptables-sync-period=0"], "--iptables-sync-period: "),
        (&["--iptables-sync-period=-30s"], "--iptables-sync-period: "),
        (&["--iptables-sync-period=30"], "--iptables-sync-period"),
        (&["--iptables-min-sync-period=-1s"], "--iptables-min-sync-period: "),
        (&["--iptables-sync-period=1s", "--iptables-min-sync-period=2s"], "--iptables-min-sync-period: "),
        (&["--full-sync-period=0s"], "--full-sync-period: "),
        (&["--full-sync-period=hourly"], "--full-sync-period"),
        (&["--relist-period=-1s"], "--relist-period: "),
        (&["--config-sync-period=0s"], "--config-sync-period: "),
        (&["--conntrack-max-per-core=-1"], "--conntrack-max-per-core: "),
        (&["--conntrack-min=-5"], "--conntrack-min: "),
        (&["--conntrack-min=many"], "--conntrack-min"),
        (&["--conntrack-min=99999999999"], "--conntrack-min"),
        (&["--conntrack-tcp-timeout-established=-1h"], "--conntrack-tcp-timeout-established: "),
        (&["--conntrack-tcp-timeout-close-wait=1"], "--conntrack-tcp-timeout-close-wait"),
        (&["--conntrack-udp-timeout=-1s"], "--conntrack-udp-timeout: "),
        (&["--conntrack-udp-timeout-stream=x"], "--conntrack-udp-timeout-stream"),
        (&["--conntrack-udp-timeout=2000000h"], "--conntrack-udp-timeout: 2000000h is longer than "),
        (&["--oom-score-adj=-1001"], "--oom-score-adj: "),
        (&["--oom-score-adj=1001"], "--oom-score-adj: "),
        (&["--oom-score-adj=low"], "--oom-score-adj"),
        (&["--logging-format=yaml"], "--logging-format: "),
        (&["--v=-1"], "--v"),
        (&["--feature-gates=Gate"], "--feature-gates: "),
        (&["--feature-gates=Gate=maybe"], "--feature-gates: "),
        (&["--vmodule=file"], "--vmodule: "),
        (&["--kube-api-burst=-1"], "--kube-api-burst: "),
        (&["--kube-api-qps=fast"], "--kube-api-qps"),
        (&["--ipvs-tcp-timeout=1"], "--ipvs-tcp-timeout"),
        (&["--master=192.0.2.1 192.0.2.2"], "--master: "),
        (&["--master=:6443"], "--master: "),
        (&["--master=ftp://192.0.2.1"], "--master: "),
        (&["--kubeconfig=/nonexistent/kubeconfig"], "--kubeconfig: /nonexistent/kubeconfig: "),
        (&["--kubeconfig=/"], "--kubeconfig: /: "),
        (&["--config=/nonexistent/config.conf"], "/nonexistent/config.conf: "),
        (&["--config=/dev/zero"], "/dev/zero: "),
        (&["--config=/"], "/: "),
        (&["--service-cluster-ip-range=10.96.0.0"], "--service-cluster-ip-range: "),
        (&["--service-proxy-name=a b"], "--service-proxy-name: "),
        (&["--table-name=2"], "--table-name: "),
        (&["--table-name=kube-proxy"], "--table-name: "),
        (&[&long], "--table-name: "),
        (&["--write-config-to=/nonexistent/file"], "--write-config-to: /nonexistent/file: "),
        (&["--init-only=2"], "--init-only"),
        (&["--healthz-port=70000"], "--healthz-port"),
        (&["--metrics-port=-1"], "--metrics-port"),
        (&["--version=loud"], "--version"),
        (&["--cluster_cidr=10.0.0.0"], "--cluster-cidr: "),
        (&["--conntrack-min=x\n\ny"], "--conntrack-min"),
        (&["--kubeconfig=/nonexistent/a\nb"], "--kubeconfig: /nonexistent/a\\nb: "),
        (&["--once"], "--filename"),
        (&["-f", "/nonexistent/manifests"], "/nonexistent/manifests: "),
        (&["-f", "/dev/null", "--master=https://192.0.2.1"], "--master"),
        (&["-f", "/dev/null", "--kubeconfig=x"], "--kubeconfig"),
        (&["--cluster-cidrs=10.0.0.0/8"], "--cluster-cidrs"),
        (&["now"], "now"),
    ] {
        refused(&[&["run"], flags].concat(), &[word]);
    }
}

#[test]
fn a_wrong_field_is_named_with_its_file() {
    enter_namespace();
    for (body, words) in [
        (
            "mode: iptables",
            &[
                "mode: ",
                "add --proxy-mode=nftables, or set `mode: nftables` in the file, or delete the field",
            ][..],
        ),
        ("mode: ipvs", &["mode: "]),
        ("mode: kernelspace", &["mode: "]),
        ("mode: [nftables]", &[":3: mode: "]),
        ("clusterCIDR: 10.0.0.0", &["clusterCIDR: "]),
        ("clusterCIDR: 10.0.0.0/8,172.16.0.0/12", &["clusterCIDR: "]),
        ("clusterCIDR: [10.0.0.0/8]", &["clusterCIDR: "]),
        ("nodePortAddresses: [lan]", &["nodePortAddresses: "]),
        ("nodePortAddresses: [primary, loopback]", &["nodePortAddresses: "]),
        ("nodePortAddresses: primary", &[":3: nodePortAddresses: "]),
        ("nodePortAddresses: [10.0.0.0/8, '']", &["nodePortAddresses[1]: "]),
        (
            "nftables:\n  masqueradeBit: 32",
            &[":4: nftables.masqueradeBit: 32 is not a whole number from 0 to 31"],
        ),
        ("nftables:\n  masqueradeBit: fourteen", &[":4: nftables.masqueradeBit: "]),
        ("nftables:\n  masqueradeAll: perhaps", &[":4: nftables.masqueradeAll: "]),
        ("nftables:\n  syncPeriod: -1s", &["nftables.syncPeriod: "]),
        ("nftables:\n  syncPeriod: 30", &[":4: nftables.syncPeriod: "]),
        ("nftables:\n  minSyncPeriod: -1s", &["nftables.minSyncPeriod: "]),
        (
            "nftables:\n  minSyncPeriod: 1m",
            &["nftables.minSyncPeriod: 1m is longer than nftables.syncPeriod (30s)"],
        ),
        ("iptables:\n  masqueradeBit: 32", &["iptables.masqueradeBit: "]),
        ("detectLocalMode: Pods", &["detectLocalMode: "]),
        ("detectLocalMode: BridgeInterface", &["detectLocal.bridgeInterface: "]),
        ("detectLocalMode: InterfaceNamePrefix", &["detectLocal.interfaceNamePrefix: "]),
        ("hostnameOverride: '  '", &["hostnameOverride: "]),
        ("bindAddress: localhost", &["bindAddress: "]),
        ("bindAddressHardFail: perhaps", &[":3: bindAddressHardFail: "]),
        ("healthzBindAddress: 0.0.0.0:0", &["healthzBindAddress: "]),
        ("metricsBindAddress: localhost", &["metricsBindAddress: "]),
        ("oomScoreAdj: 1001", &["oomScoreAdj: 1001 is not a whole number from -1000 to 1000"]),
        ("oomScoreAdj: low", &[":3: oomScoreAdj: "]),
        ("oomScoreAdj: '5'", &["oomScoreAdj: \"5\" is not a whole number"]),
        ("hostnameOverride: 5", &["hostnameOverride: 5 is not text"]),
        (
            "nftables: {masqueradeAll: 'true'}",
            &["nftables.masqueradeAll: \"true\" is neither true nor false"],
        ),
        ("conntrack:\n  min: -5", &["conntrack.min: -5 is not a whole number from 0"]),
        ("conntrack:\n  maxPerCore: -1", &["conntrack.maxPerCore: "]),
        ("conntrack:\n  tcpEstablishedTimeout: -1h", &["conntrack.tcpEstablishedTimeout: "]),
        ("conntrack:\n  tcpCloseWaitTimeout: soon", &[":4: conntrack.tcpCloseWaitTimeout: "]),
        ("conntrack:\n  udpTimeout: -1s", &["conntrack.udpTimeout: "]),
        ("conntrack:\n  udpStreamTimeout: -1s", &["conntrack.udpStreamTimeout: "]),
        ("configSyncPeriod: -1s", &["configSyncPeriod: "]),
        ("clientConnection:\n  burst: -1", &["clientConnection.burst: "]),
        (
            "clientConnection:\n  kubeconfig: /nonexistent/x",
            &["clientConnection.kubeconfig: /nonexistent/x: "],
        ),
        ("clientConnection: x", &[":3: clientConnection: "]),
        ("featureGates:\n  Gate: maybe", &[":4: featureGates.Gate: "]),
        ("featureGates: Gate=true", &[":3: featureGates: "]),
        ("logging:\n  format: yaml", &["logging.format: "]),
        ("logging:\n  flushFrequency: x", &["logging.flushFrequency: \"x\" is not a duration"]),
        ("conntrack:\n  udpTimeout: 2000000h", &["conntrack.udpTimeout: 2000000h is longer than "]),
        ("logging:\n  verbosity: -1", &[":4: logging.verbosity: "]),
        ("conntrack: [1", &[":"]),
        ("---\nmode: nftables", &[":"]),
        ("a: &a [*a]", &[":3: "]),
    ] {
        let file = TestFile::new(&format!("{HEAD}{body}\n"));
        refused(&["run", "--config", &file.name()], &[&[&*file.name()], words].concat());
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    enter_namespace();
    for (text, word) in [
        ("", "apiVersion: is missing"),
        ("just text", "config.conf:1: "),
        ("\u{0}\u{1}", "config.conf"),
        ("apiVersion: v1\nkind: ConfigMap\n", ":1: the ConfigMap has no key config.conf or config"),
        ("apiVersion: v1\nkind: Pod\n", "kind: \"Pod\" is not supported, only KubeProxyConfiguration"),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration\n", "apiVersion: "),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha1\n", "kind: is missing"),
        ("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n", "kind: "),
    ] {
        let file = TestFile::new(text);
        refused(&["run", "--config", &file.name()], &[&file.name(), word]);
    }
    // kubeadm's file with a mode that its users may have chosen.
    let file = TestFile::new(&KUBEADM.replace("mode: \"\"", "mode: ipvs"));
    refused(&["run", "--config", &file.name()], &[&file.name(), "mode: ", "nftables"]);
}

/// Fields that kube-proxy logs and ignores, and the messages about them.
#[test]
fn a_file_with_questionable_fields_is_refused_if_asked_for() {
    enter_namespace();
    for (body, word) in [
        ("clusterCidr: 10.0.0.0/8", ":3: clusterCidr: unknown field; did you mean clusterCIDR?"),
        ("ipvs:\nstrictARP: true", ":4: strictARP: unknown field; did you mean ipvs.strictARP?"),
        ("conntrack:\n  maxPerCpu: 1", ":4: conntrack.maxPerCpu: unknown field; did you mean"),
        ("logging:\n  options:\n    json:\n      size: 1", ":6: logging.options.json.size: unknown field"),
        ("mode: nftables\nmode: nftables", ":3: mode: occurs again; the last value counts"),
    ] {
        let file = TestFile::new(&format!("{HEAD}{body}\n"));
        refused(&["run", "--config", &file.name(), "--strict-config"], &[&file.name(), word]);
        refused(
            &["run", "--config", &file.name(), "--show-config", "--strict-config"],
            &[&file.name(), word],
        );
    }
}

#[test]
fn flags_are_checked_beside_a_file_too() {
    enter_namespace();
    let file = TestFile::new(HEAD);
    for flag in
        ["--conntrack-min=x", "--feature-gates=x", "--table-name=2", "--logging-format=x", "--master=x://y"]
    {
        refused(&["run", "--config", &file.name(), flag], &[flag.split('=').next().unwrap()]);
    }
}

#[test]
fn credentials_that_cannot_be_used_are_named_with_what_named_them() {
    enter_namespace();
    let kubeconfig = |cluster: &str, user: &str| {
        TestFile::new(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        ))
    };
    let server = "server: 'https://192.0.2.1:6443'";
    for (file, word) in [
        (TestFile::new(""), "current-context"),
        (TestFile::new("clusters: [\n"), "YAML"),
        (TestFile::new("current-context: b\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n"), "b"),
        (kubeconfig("server: 'a b'", ""), "not a URL"),
        (
            TestFile::new(
                "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: nobody}}]\n\
                 clusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]\nusers: [{name: u, user: {}}]\n",
            ),
            "the context's user \"nobody\" does not exist",
        ),
        (kubeconfig(&format!("{server}, certificate-authority: /nonexistent/ca"), ""), "/nonexistent/ca"),
        (kubeconfig(&format!("{server}, certificate-authority-data: aGVsbG8="), ""), "has no certificate"),
        (kubeconfig(server, "tokenFile: /nonexistent/token"), "/nonexistent/token"),
        (
            kubeconfig(server, "client-certificate: /nonexistent/a, client-key: /nonexistent/b"),
            "/nonexistent/",
        ),
    ] {
        let name = file.name();
        refused(&["run", "--kubeconfig", &name], &["portolan: --kubeconfig: ", word]);
        let config = TestFile::new(&format!("{HEAD}clientConnection: {{kubeconfig: {name}}}\n"));
        let place = format!("portolan: {}: clientConnection.kubeconfig: ", config.name());
        refused(&["run", "--config", &config.name()], &[&place, word]);
    }
}
