//! What is accepted and means nothing is named, in one line.

use crate::process::{HEAD, TestFile, enter_namespace, portolan};

/// Lines that are warnings, from a run that programs the kernel once from no manifests at all.
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
    // As kube-proxy writes its defaults down.
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
        "{HEAD}clientConnection:\n  qps: 50\nenableProfiling: true\nfeatureGates:\n  TopologyAwareHints: false\n\
         iptables:\n  masqueradeAll: true\nipvs:\n  excludeCIDRs: [10.0.0.0/8, 10.1.0.0/16]\n  strictARP: true\n\
         portRange: 1-2\nwinkernel:\n  networkName: x\n"
    ));
    let named = warnings(&["--config", &file.name(), "--conntrack-min=5", "--healthz-port=1", "--profiling"]);
    assert_eq!(
        named,
        [format!(
            "\"Without effect here ({}): clientConnection.qps, enableProfiling, featureGates.TopologyAwareHints, \
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
        [r#""Without effect here: --feature-gates, --ipvs-scheduler""#]
    );
    assert_eq!(
        warnings(&["--nodeport-addresses=127.0.0.0/8,10.0.0.0/8", "--proxy-port-range=1-2"]),
        [r#""Without effect here: --proxy-port-range, --nodeport-addresses 127.0.0.0/8 (loopback)""#]
    );
}

#[test]
fn a_node_that_should_say_its_networks_and_does_not_is_named() {
    enter_namespace();
    assert_eq!(
        warnings(&["--detect-local-mode=NodeCIDR"]),
        [
            "\"--detect-local-mode NodeCIDR: there is no Node node-a with spec.podCIDRs: no connection to a ClusterIP is \
          masqueraded\""
        ]
    );
}
