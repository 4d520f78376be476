//! Flags that `render` and `diff` have too.

use std::fs;

use crate::process::portolan;

/// A Service for another proxy than the default one, and its endpoint.
const LABELLED: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, labels: {service.kubernetes.io/service-proxy-name: edge}}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-1
  labels: {kubernetes.io/service-name: web, service.kubernetes.io/service-proxy-name: edge}
addressType: IPv4
endpoints: [{addresses: [10.128.0.7]}]
ports: [{port: 8080}]
";

fn render(flags: &[&str]) -> String {
    let manifests = tempfile::tempdir().unwrap();
    fs::write(manifests.path().join("web.yaml"), LABELLED).unwrap();
    let outcome = portolan(&[&["render", "-f", manifests.path().to_str().unwrap()], flags].concat());
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
    outcome.stdout
}

#[test]
fn the_proxy_name_says_whose_services_are_served() {
    assert!(!render(&[]).contains("10.96.0.1"));
    assert!(!render(&["--service-proxy-name=other"]).contains("10.96.0.1"));
    let text = render(&["--service-proxy-name=edge"]);
    assert!(text.contains("10.96.0.1") && text.contains("10.128.0.7"), "{text}");
}

#[test]
fn the_tables_have_the_name_that_is_asked_for() {
    let text = render(&["--table-name=edge"]);
    assert!(text.contains("table ip edge") && text.contains("table ip6 edge"), "{text}");
    assert!(!text.contains("portolan"), "{text}");
}
