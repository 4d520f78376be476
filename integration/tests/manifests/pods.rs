//! Endpoints derived from Pods.

use std::fmt::Write as _;

use portolan::source::manifest::{Objects, Source};

fn read(text: &str) -> Objects {
    let objects =
        Source::new(["-".into()], "node-1").with_stdin(std::io::Cursor::new(text.to_owned())).load();
    assert_eq!(objects.errors, []);
    objects
}

/// Returns a Service with this spec, besides its address and selector.
fn service(spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web}}, \
          spec: {{clusterIP: 10.96.0.1, selector: {{app: web}}, {spec}}}}}\n---\n"
    )
}

const PORT: &str = "ports: [{port: 80}]";

/// Returns a Pod with these labels, spec and status.
fn pod(name: &str, labels: &str, spec: &str, status: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{{labels}}}}}, \
          spec: {{{spec}}}, status: {{{status}}}}}\n---\n"
    )
}

/// Returns the slices as text: ports, then endpoints with the initials of their true conditions.
fn slices(objects: &Objects) -> Vec<String> {
    let slices = objects.slices.values().map(|slice| {
        let mut text = slice.name.to_string();
        for endpoint in &slice.endpoints {
            let flags = [(endpoint.ready, 'r'), (endpoint.serving, 's'), (endpoint.terminating, 't')];
            let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect();
            write!(text, " {}/{flags}", endpoint.address).unwrap();
            if let Some(node) = &endpoint.node {
                write!(text, "@{node}").unwrap();
            }
        }
        text
    });
    slices.collect()
}

#[test]
fn pods_whose_labels_match_are_endpoints() {
    let text = service(PORT)
        + &pod("b", "app: web, tier: front", "nodeName: node-1", "podIP: 10.0.0.2, phase: Running")
        + &pod("a", "app: web", "", "podIP: 10.0.0.1")
        + &pod("other", "app: other", "", "podIP: 10.0.0.3")
        + &pod("unlabelled", "", "", "podIP: 10.0.0.4")
        + &pod("elsewhere", "app: web", "", "podIP: 10.0.0.5")
            .replace("name: elsewhere", "name: x, namespace: shop");
    let objects = read(&text);
    assert_eq!(slices(&objects), ["default/web:ipv4:=80 10.0.0.1/rs 10.0.0.2/rs@node-1"]);
    let slice = objects.slices.values().next().unwrap();
    assert_eq!(&*slice.service, "web");
    assert_eq!(slice.ports.len(), 1);
}

#[test]
fn conditions_come_from_readiness_and_deletion() {
    let ready = |status: &str| format!("podIP: 10.0.0.1, conditions: [{{type: Ready, status: '{status}'}}]");
    for (publish, deleted, status, expected) in [
        (false, false, ready("True"), Some("rs")),
        (false, false, ready("False"), Some("")),
        (false, true, ready("True"), Some("st")),
        (false, true, ready("False"), Some("t")),
        (true, false, ready("False"), Some("r")),
        (true, true, ready("True"), Some("rst")),
        (true, true, ready("False"), Some("rt")),
        (false, false, "podIP: 10.0.0.1, phase: Pending".to_owned(), Some("")),
        (false, false, "podIP: 10.0.0.1, phase: Succeeded".to_owned(), None),
        (true, false, "podIP: 10.0.0.1, phase: Failed".to_owned(), None),
        (false, false, "phase: Running".to_owned(), None),
    ] {
        let mut pod = pod("a", "app: web", "", &status);
        if deleted {
            pod = pod.replace("{name: a,", "{name: a, deletionTimestamp: '2026-01-01T00:00:00Z',");
        }
        let text = service(&format!("publishNotReadyAddresses: {publish}, {PORT}")) + &pod;
        let expected: Vec<String> =
            expected.iter().map(|flags| format!("default/web:ipv4:=80 10.0.0.1/{flags}")).collect();
        assert_eq!(slices(&read(&text)), expected, "{publish} {deleted} {status}");
    }
}

#[test]
fn each_family_of_the_service_has_its_slice() {
    let pods = pod("a", "app: web", "", "podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]")
        + &pod("b", "app: web", "", "podIP: 'fd00::2'")
        + &pod("host", "app: web", "hostNetwork: true", "hostIP: 192.0.2.1");
    assert_eq!(slices(&read(&(service(PORT) + &pods))), ["default/web:ipv4:=80 10.0.0.1/rs 192.0.2.1/rs"]);
    let dual = service(&format!("clusterIPs: [10.96.0.1, 'fd01::1'], {PORT}"));
    assert_eq!(
        slices(&read(&(dual + &pods))),
        ["default/web:ipv4:=80 10.0.0.1/rs 192.0.2.1/rs", "default/web:ipv6:=80 fd00::1/rs fd00::2/rs",]
    );
}

#[test]
fn named_target_ports_are_those_of_each_pod() {
    let ports = |http: u16, rest: &str| {
        format!("containers: [{{ports: [{{name: http, containerPort: {http}}}{rest}]}}]")
    };
    let text = service(
        "ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 53, protocol: UDP, targetPort: dns}, \
         {name: c, port: 9}, {name: d, port: 10, targetPort: 1010}]",
    ) + &pod("a", "app: web", &ports(8080, ""), "podIP: 10.0.0.1")
        + &pod("b", "app: web", &ports(8081, ""), "podIP: 10.0.0.2")
        + &pod("c", "app: web", &ports(8080, ", {name: dns, containerPort: 5353, protocol: UDP}"), "podIP: 10.0.0.3")
        // The right name with the wrong protocol.
        + &pod("d", "app: web", &ports(8080, ", {name: dns, containerPort: 5353}"), "podIP: 10.0.0.4")
        + &pod("e", "app: web", "", "podIP: 10.0.0.5");
    assert_eq!(
        slices(&read(&text)),
        [
            "default/web:ipv4:a=8080,b=5353,c=9,d=1010 10.0.0.3/rs",
            "default/web:ipv4:a=8080,c=9,d=1010 10.0.0.1/rs 10.0.0.4/rs",
            "default/web:ipv4:a=8081,c=9,d=1010 10.0.0.2/rs",
            "default/web:ipv4:c=9,d=1010 10.0.0.5/rs",
        ]
    );
}

#[test]
fn sidecars_have_named_ports_too() {
    let spec =
        |policy: &str| format!("initContainers: [{{{policy}ports: [{{name: http, containerPort: 15001}}]}}]");
    let text = service("ports: [{port: 80, targetPort: http}]")
        + &pod("sidecar", "app: web", &spec("restartPolicy: Always, "), "podIP: 10.0.0.1")
        + &pod("setup", "app: web", &spec(""), "podIP: 10.0.0.2");
    assert_eq!(slices(&read(&text)), ["default/web:ipv4:=15001 10.0.0.1/rs"]);
}

#[test]
fn given_slices_are_used_alone() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
                 metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}, \
                 ports: [{port: 8080}], endpoints: [{addresses: [10.0.0.9]}]}\n---\n";
    let text = service(PORT) + &pod("a", "app: web", "", "podIP: 10.0.0.1") + slice;
    assert_eq!(slices(&read(&text)), ["default/web-1 10.0.0.9/rs"]);
}

#[test]
fn services_without_selector_have_no_derived_endpoints() {
    let text =
        service(PORT).replace("selector: {app: web}, ", "") + &pod("a", "app: web", "", "podIP: 10.0.0.1");
    assert_eq!(slices(&read(&text)), Vec::<String>::new());
    let text = service(PORT).replace("{app: web}", "{}") + &pod("a", "app: web", "", "podIP: 10.0.0.1");
    assert_eq!(slices(&read(&text)), Vec::<String>::new());
}
