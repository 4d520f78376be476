//! `describe`, `check` and `trace`: why a Service does not answer, in one line each.

use std::{
    fmt::Write as _,
    process::{Command, Output},
};

use portolan_integration::binary;
use portolan_rules::explanation::Reason;
use serde_json::Value;

/// Services that do not answer, each for a different reason, and one that answers.
const BROKEN: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {podCIDRs: [10.244.1.0/24]}, status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: works, namespace: shop}
  spec: {type: NodePort, clusterIP: 10.96.1.6, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30086}]}
- apiVersion: v1
  kind: Service
  metadata: {name: typo, namespace: shop}
  spec: {clusterIP: 10.96.1.1, selector: {app: wbe}, ports: [{port: 80, targetPort: 8080}]}
- apiVersion: v1
  kind: Service
  metadata: {name: named, namespace: shop}
  spec: {clusterIP: 10.96.1.2, selector: {app: web}, ports: [{port: 80, targetPort: htttp}]}
- apiVersion: v1
  kind: Service
  metadata: {name: local, namespace: shop}
  spec: {clusterIP: 10.96.1.3, internalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
- apiVersion: v1
  kind: Service
  metadata: {name: notready, namespace: shop}
  spec: {clusterIP: 10.96.1.4, selector: {app: slow}, ports: [{port: 80, targetPort: 8080}]}
- apiVersion: v1
  kind: Service
  metadata: {name: pending, namespace: shop}
  spec: {type: LoadBalancer, clusterIP: 10.96.1.5, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30085}]}
  status: {loadBalancer: {}}
- apiVersion: v1
  kind: Service
  metadata: {name: other-port, namespace: shop}
  spec: {clusterIP: 10.96.1.7, ports: [{name: http, port: 80, targetPort: 8080}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: other-port-1, namespace: shop, labels: {kubernetes.io/service-name: other-port}}
  addressType: IPv4
  ports: [{port: 8080}]
  endpoints: [{addresses: [10.244.1.5]}]
- apiVersion: v1
  kind: Pod
  metadata: {name: web-1, namespace: shop, labels: {app: web}}
  spec: {nodeName: node-2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIPs: [{ip: 10.244.2.5}], conditions: [{type: Ready, status: 'True'}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: web-2, namespace: shop, labels: {app: web}}
  spec: {nodeName: node-2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIPs: [{ip: 10.244.2.6}], conditions: [{type: Ready, status: 'True'}]}
- apiVersion: v1
  kind: Pod
  metadata: {name: slow-1, namespace: shop, labels: {app: slow}}
  spec: {nodeName: node-1, containers: [{name: c, ports: [{containerPort: 8080}]}]}
  status:
    phase: Running
    podIPs: [{ip: 10.244.1.6}]
    conditions: [{type: Ready, status: 'False', reason: ContainersNotReady, message: 'containers with unready status: [c]'}]
";

/// Each of these Services, the code of its cause, what becomes of a connection, and a part of the sentence.
const CAUSES: [(&str, &str, &str, &str); 5] = [
    (
        "typo",
        "selector-matches-nothing",
        "refused",
        "selector app=wbe matches no Pod; 2 Pods of this namespace have app=web",
    ),
    (
        "named",
        "no-container-port",
        "refused",
        "targetPort htttp: no container of the Pods has a port of this name; they have: http",
    ),
    (
        "local",
        "dropped-here",
        "dropped",
        "this node has no endpoint and the policy is Local: connections are dropped here",
    ),
    (
        "notready",
        "not-ready",
        "refused",
        "not ready: ContainersNotReady: containers with unready status: [c]",
    ),
    (
        "other-port",
        "no-such-port",
        "refused",
        "no EndpointSlice has a port of this name; they have: (unnamed)",
    ),
];

/// Runs a command on these manifests, from the view of node-1.
fn portolan(arguments: &[&str], manifests: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifests.yaml");
    std::fs::write(&path, manifests).unwrap();
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).args(["--node", "node-1", "--cluster-cidr", "10.244.0.0/16", "-f"]).arg(path);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the text on one line, without line breaks from wrapping.
fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}\n{stderr}", stdout(output));
}

#[test]
fn describe_names_the_cause_in_one_line() {
    for (name, _, _, sentence) in CAUSES {
        let output = portolan(&["describe", "service", name, "-n", "shop"], BROKEN);
        assert_code(&output, 0);
        let text = stdout(&output);
        // The findings come before the advice.
        let findings = unbroken(text.split("\n          ").next().unwrap_or_default());
        assert!(findings.contains(sentence), "{name}: {text}");
        assert!(!text.contains('\u{1b}'), "a pipe has no colours");
    }
    let pending = unbroken(&stdout(&portolan(&["describe", "service", "shop/pending"], BROKEN)));
    assert!(pending.contains("the load balancer has no address yet"), "{pending}");
}

#[test]
fn describe_shows_frontends_endpoints_and_shares() {
    let output = portolan(&["describe", "service", "shop/works"], BROKEN);
    assert_code(&output, 0);
    let text = unbroken(&stdout(&output));
    for part in [
        "NodePort 192.0.2.11:30086 (every node)",
        "policy Cluster, 2 of 2 endpoints; masqueraded",
        "ClusterIP 10.96.1.6:80",
        "from a Pod source kept, from outside masqueraded",
        "10.244.2.5:8080 Pod shop/web-1 on node-2",
        "██████████ 1/2 (50.0 %)",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    let coloured = portolan(&["describe", "service", "shop/typo", "--color", "always"], BROKEN);
    assert!(stdout(&coloured).contains('\u{1b}'));
    let unknown = portolan(&["describe", "service", "shop/wroks"], BROKEN);
    assert_code(&unknown, 1);
    let stderr = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(stderr, "portolan: there is no Service shop/wroks in the input; did you mean shop/works?\n");
}

#[test]
fn trace_says_what_becomes_of_a_connection_and_why() {
    for (name, _, fate, sentence) in CAUSES {
        let output = portolan(&["trace", "outside", &format!("svc/shop/{name}:80")], BROKEN);
        assert_code(&output, 1);
        let text = stdout(&output);
        assert_eq!(text.lines().next(), Some(fate), "{name}: {text}");
        assert!(text.contains(sentence), "{name}: {text}");
    }
    for (from, to, answer) in [
        (
            "outside",
            "works.shop.svc.cluster.local:80",
            "reaches one of 2 endpoints, 50.0 % each; source becomes this node",
        ),
        ("pod/shop/web-1", "10.96.1.6:80", "reaches one of 2 endpoints, 50.0 % each; source kept"),
        ("pod/shop/slow-1", "svc/shop/works", "reaches one of 2 endpoints, 50.0 % each; source kept"),
        (
            "outside=203.0.113.9",
            ":30086",
            "reaches one of 2 endpoints, 50.0 % each; source becomes this node",
        ),
        ("node", "192.0.2.11:30086", "reaches one of 2 endpoints, 50.0 % each; source becomes this node"),
    ] {
        let output = portolan(&["trace", from, to], BROKEN);
        assert_code(&output, 0);
        let text = stdout(&output);
        assert_eq!(text.lines().next(), Some(answer), "{from} {to}: {text}");
    }
    let alone = portolan(&["trace", "outside", "198.51.100.1:80"], BROKEN);
    assert_code(&alone, 1);
    assert!(stdout(&alone).starts_with("left alone"), "{}", stdout(&alone));
    let rules = portolan(&["trace", "outside", "svc/shop/works", "-v", "1"], BROKEN);
    let without_level = portolan(&["trace", "outside", "svc/shop/works", "-v"], BROKEN);
    assert!(stdout(&without_level).contains("prerouting"), "{}", stdout(&without_level));
    assert!(stdout(&rules).contains("prerouting"), "{}", stdout(&rules));
    for wrong in [["outside", "svc/shop/wroks"], ["pod/shop/nobody", "svc/shop/works"], ["nowhere", ":30086"]]
    {
        assert_code(&portolan(&["trace", wrong[0], wrong[1]], BROKEN), 2);
    }
}

#[test]
fn check_finds_each_cause_and_raises_no_alarm_otherwise() {
    let output = portolan(&["check", "-o", "json"], BROKEN);
    assert_code(&output, 1);
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = |service: &str| -> Vec<String> {
        let of_service = findings.as_array().unwrap().iter().filter(|finding| finding["service"] == service);
        of_service.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    for (name, code, ..) in CAUSES {
        assert_eq!(codes(&format!("shop/{name}")), [code], "{name}");
    }
    assert_eq!(codes("shop/pending"), ["no-load-balancer-address"]);
    assert_eq!(codes("shop/works"), [""; 0], "it works");

    let sarif: Value = serde_json::from_slice(&portolan(&["check", "-o", "sarif"], BROKEN).stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), findings.as_array().unwrap().len());
    let github = stdout(&portolan(&["check", "-o", "github"], BROKEN));
    assert!(github.contains("::error title=selector-matches-nothing::Service shop/typo"), "{github}");
}

#[test]
fn check_fails_by_severity_and_not_for_the_baseline() {
    let directory = tempfile::tempdir().unwrap();
    let baseline = directory.path().join("baseline");
    let known: Vec<String> = CAUSES.iter().map(|(name, code, ..)| format!("{code} shop/{name}")).collect();
    std::fs::write(&baseline, format!("# known\n\n{}\n", known.join("\n"))).unwrap();
    let path = baseline.to_str().unwrap();
    assert_code(&portolan(&["check", "--baseline", path], BROKEN), 0);
    assert_code(&portolan(&["check", "--baseline", path, "--fail-on", "warning"], BROKEN), 1);
    std::fs::write(&baseline, "selector-matches-nothing\n").unwrap();
    assert_code(&portolan(&["check", "--baseline", path], BROKEN), 2);
    assert_code(&portolan(&["check"], "# nothing\n"), 2);
}

/// The page lists every reason; with `PORTOLAN_UPDATE=1` the test writes the page.
#[test]
fn the_table_of_reasons_is_that_of_the_program() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reasons.md");
    let mut page = String::from(
        "# Reasons\n\nEvery reason that `describe`, `trace` and `check` give, with its stable code.\n\n\
         | code | severity | field | for example | what to do |\n|---|---|---|---|---|\n",
    );
    for reason in Reason::examples() {
        let severity = reason.severity().name();
        let _ = writeln!(
            page,
            "| `{}` | {severity} | `{}` | {reason} | {} |",
            reason.code(),
            reason.field(),
            reason.hint()
        );
    }
    if std::env::var_os("PORTOLAN_UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/reasons.md is stale: run this test with PORTOLAN_UPDATE=1");
}
