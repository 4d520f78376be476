//! Any bytes as input: no panic, no endless work, one line for each problem.

use portolan::source::manifest::{Objects, Source};
use proptest::{collection::vec, prelude::*, sample::Index};

const GOOD: &str = r#"apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z", labels: {a: b}}
  spec:
    type: LoadBalancer
    clusterIP: 10.96.0.1
    clusterIPs: [10.96.0.1, "fd00::1"]
    ipFamilies: [IPv4, IPv6]
    externalIPs: [203.0.113.1]
    loadBalancerSourceRanges: [192.0.2.0/24]
    sessionAffinity: ClientIP
    sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
    selector: {app: web}
    ports:
    - {name: http, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}
    - {name: dns, port: 53, targetPort: 5353, protocol: UDP}
  status: {loadBalancer: {ingress: [{ip: 192.0.2.1, ipMode: VIP}, {hostname: x}]}}
- apiVersion: v1
  kind: Pod
  metadata: {name: p, namespace: shop, labels: {app: web}}
  spec: {nodeName: node-1, containers: [{ports: [{name: http, containerPort: 8080}]}]}
  status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd01::1"}], conditions: [{type: Ready, status: "True"}]}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
  - {addresses: [10.0.0.2], conditions: {ready: true}, nodeName: node-1, hints: {forZones: [{name: a}]}}
  kind: EndpointSlice
  metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
  ports: [{name: "", port: 5432, protocol: TCP}]
- {apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}}
- {apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: k}, spec: {cidrs: [10.96.0.0/16]}}
kind: List
"#;

fn read(bytes: Vec<u8>) -> Objects {
    let objects = Source::new(["-".into()], "node-1").with_stdin(std::io::Cursor::new(bytes)).load();
    for problem in objects.errors.iter().chain(&objects.warnings) {
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 1000, "{line:?}");
    }
    objects
}

/// Returns the manifest as JSON: the same objects, another parser.
fn json() -> String {
    let value: serde_json::Value = serde_saphyr::from_str(GOOD).unwrap();
    value.to_string()
}

/// Replaces, inserts and removes pieces of a text.
fn mutate(text: &str, edits: &[(Index, usize, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, removed, inserted) in edits {
        let at = at.index(bytes.len() + 1);
        let end = (at + removed).min(bytes.len());
        bytes.splice(at..end, inserted.iter().copied());
    }
    bytes
}

fn edits() -> impl Strategy<Value = Vec<(Index, usize, Vec<u8>)>> {
    let pieces = prop_oneof![
        vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "null", "-1", "70000", "[]", "{}", "\"\"", "x", ": ", "- ", "\n", "---\n", "&a ", "*a", "!!int ",
            "<<: ", "\t", "'", "\"", "|", ">", "#", "? ", "true", "1e999", ".nan", "0x7f", "\u{feff}", "\0",
            "\u{85}",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    vec((any::<Index>(), 0..40_usize, pieces), 1..6)
}

#[test]
fn the_unchanged_manifest_is_good_in_both_formats() {
    for text in [GOOD.to_owned(), json()] {
        let objects = read(text.into_bytes());
        assert_eq!((&objects.errors, &objects.warnings), (&vec![], &vec![]));
        assert_eq!((objects.services.len(), objects.slices.len()), (1, 3));
        assert!(objects.node.is_some());
        assert_eq!(objects.service_cidrs.len(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        read(bytes);
    }

    #[test]
    fn random_text_does_no_harm(text in "[-{}\\[\\]:,&*!|>'\"%@`#? \nabk1.~]{0,80}") {
        read(text.into_bytes());
    }

    #[test]
    fn damaged_yaml_does_no_harm(edits in edits()) {
        read(mutate(GOOD, &edits));
    }

    #[test]
    fn damaged_json_does_no_harm(edits in edits()) {
        read(mutate(&json(), &edits));
    }
}

#[test]
fn every_beginning_of_a_manifest_does_no_harm() {
    for text in [GOOD.to_owned(), json()] {
        for end in 0..text.len() {
            read(text.as_bytes()[..end].to_vec());
        }
    }
}
