//! Warnings about options that have no effect, and about questionable ones.

use crate::process::{HEAD, TestFile, enter_namespace, ip, portolan};

/// Returns the warnings of a run that programs the kernel once, from an empty directory of manifests.
fn warnings(arguments: &[&str]) -> Vec<String> {
    let empty = tempfile::tempdir().unwrap();
    let manifests = empty.path().to_str().unwrap();
    let outcome = portolan(&[&["run", "-f", manifests, "--allow-empty", "--once"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let lines = outcome.stderr.lines().filter(|line| line.starts_with('W'));
    lines.map(|line| line.split_once("] ").unwrap().1.to_owned()).collect()
}

#[test]
fn nothing_is_said_of_defaults() {
    enter_namespace();
    assert_eq!(warnings(&[]), Vec::<String>::new());
    // kube-proxy's defaults, as it writes them to a file.
    let file = TestFile::new(&format!(
        "{HEAD}clientConnection:\n  burst: 10\n  contentType: application/vnd.kubernetes.protobuf\n  qps: 5\n\
         configSyncPeriod: 15m0s\niptables:\n  localhostNodePorts: true\n  masqueradeBit: 14\n  minSyncPeriod: 1s\n  \
         syncPeriod: 30s\nresourceContainer: /kube-proxy\nudpIdleTimeout: 250ms\nipvs:\n  syncPeriod: 30s\nlogging:\n  flushFrequency: 5000000000\nfeatureGates: {{}}\n"
    ));
    assert_eq!(warnings(&["--config", &file.name()]), Vec::<String>::new());
}

#[test]
fn fields_and_flags_without_meaning_are_named_in_one_line() {
    enter_namespace();
    let file = TestFile::new(&format!(
        "{HEAD}mode: nftables\nclientConnection:\n  qps: 50\nenableProfiling: true\nfeatureGates:\n  TopologyAwareHints: false\n\
         iptables:\n  masqueradeAll: true\nipvs:\n  excludeCIDRs: [10.0.0.0/8, 10.1.0.0/16]\n  strictARP: true\n\
         portRange: 1-2\nwinkernel:\n  networkName: x\n"
    ));
    let named = warnings(&["--config", &file.name(), "--conntrack-min=5", "--healthz-port=1", "--profiling"]);
    assert_eq!(
        named,
        [format!(
            "\"Without effect here\" file=\"{}\" options=\"clientConnection.qps, enableProfiling, featureGates.TopologyAwareHints, \
             iptables.masqueradeAll, ipvs.excludeCIDRs, ipvs.strictARP, portRange, winkernel.networkName, \
             --healthz-port, --conntrack-min, --profiling\"",
            file.name()
        )]
    );
    assert_eq!(
        warnings(&[
            "--ipvs-scheduler=rr",
            "--feature-gates=A=true,B=true",
            "--profiling=false",
            "--kube-api-qps=5"
        ]),
        [r#""Without effect here" options="--feature-gates, --ipvs-scheduler""#]
    );
    assert_eq!(
        warnings(&["--nodeport-addresses=127.0.0.2/32,10.0.0.0/8", "--proxy-port-range=1-2"]),
        [
            r#""Without effect here" options="--proxy-port-range, --nodeport-addresses 127.0.0.2/32 (loopback)""#
        ]
    );
}

/// The same as in kube-proxy, so that replacing its image closes no node port that answers today.
#[test]
fn a_family_whose_node_ports_are_open_on_every_address_is_named() {
    enter_namespace();
    ip(&["link", "set", "lo", "up"]);
    ip(&["address", "add", "192.0.2.1/24", "dev", "lo"]);
    let networks = "--nodeport-addresses=192.0.2.0/24";
    assert_eq!(warnings(&[networks]), Vec::<String>::new(), "there is no other family");
    ip(&["address", "add", "2001:db8::1/64", "dev", "lo"]);
    let open = |option: &str| {
        let message = "Node ports of a family without a listed network answer on every address; the word primary restricts them";
        [format!("\"{message}\" option=\"{option}\" family=\"IPv6\"")]
    };
    assert_eq!(warnings(&[networks]), open("--nodeport-addresses"));
    let file = TestFile::new(&format!("{HEAD}nodePortAddresses: [192.0.2.0/24]\n"));
    assert_eq!(warnings(&["--config", &file.name()]), open("nodePortAddresses"));
    assert_eq!(warnings(&[networks, "--nodeport-addresses=2001:db8::/64"]), Vec::<String>::new());
    assert_eq!(warnings(&["--nodeport-addresses=primary"]), Vec::<String>::new());
}

#[test]
fn a_node_that_should_say_its_networks_and_does_not_is_named() {
    enter_namespace();
    assert_eq!(
        warnings(&["--detect-local-mode=NodeCIDR"]),
        [
            "\"Node lacks what the configuration needs\" err=\"--detect-local-mode NodeCIDR: there is no Node node-a with \
             spec.podCIDRs: no connection to a ClusterIP is masqueraded\""
        ]
    );
}

#[test]
fn fields_that_kube_proxy_ignores_are_named_one_by_one_and_the_agent_runs() {
    enter_namespace();
    let file = TestFile::new(&format!(
        "{HEAD}clusterCidr: 10.0.0.0/8\nipvs:\nstrictARP: true\nmode: iptables\nmode: nftables\nofALaterRelease: {{a: [1]}}\n"
    ));
    let name = file.name();
    let line =
        |text: &str| format!("\"Configuration file has a field that is ignored\" err=\"{name}:{text}\"");
    let expected = [
        line("3: clusterCidr: unknown field; did you mean clusterCIDR?"),
        line("5: strictARP: unknown field; did you mean ipvs.strictARP?"),
        line("6: mode: occurs again; the last value counts"),
        line("8: ofALaterRelease: unknown field"),
    ];
    assert_eq!(warnings(&["--config", &name]), expected);
    // `--show-config` prints the same warnings.
    let shown = portolan(&["run", "-f", "/dev/null", "--config", &name, "--show-config"]);
    let lines: Vec<&str> = shown.stderr.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    assert_eq!((shown.code, lines), (Some(0), expected.each_ref().map(String::as_str).to_vec()));
}

#[test]
fn show_config_warns_as_run_does() {
    enter_namespace();
    let file = TestFile::new(&format!("{HEAD}ipvs: {{strictARP: true}}\n"));
    let shown = portolan(&["run", "--config", &file.name(), "--show-config"]);
    let without_effect = format!(r#""Without effect here" file="{}" options="ipvs.strictARP""#, file.name());
    for expected in [&without_effect, "missing=\"clusterCIDR\""] {
        assert_eq!(shown.stderr.matches(expected).count(), 1, "{shown:?}");
    }
    assert_eq!(shown.code, Some(0));
}
