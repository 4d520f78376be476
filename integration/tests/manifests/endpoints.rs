//! `v1` Endpoints, mirrored to slices as the cluster's controller does.

use portolan::source::manifest::{Objects, Source};

fn read(text: &str) -> Objects {
    Source::new(["-".into()], "node-1").with_stdin(std::io::Cursor::new(text.to_owned())).load()
}

/// Returns a Service with these fields in its `spec`.
fn service(spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: db}}, \
          spec: {{clusterIP: 10.96.0.1, {spec} ports: [{{port: 5432}}]}}}}\n---\n"
    )
}

/// Returns Endpoints of that Service, with these fields in `metadata` and these subsets.
fn endpoints(metadata: &str, subsets: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Endpoints, metadata: {{name: db{metadata}}}, subsets: [{subsets}]}}\n---\n"
    )
}

const SUBSET: &str = "{addresses: [{ip: 192.0.2.40, nodeName: node-2}], notReadyAddresses: [{ip: 192.0.2.41}], \
                       ports: [{port: 5432}]}";

/// Returns the endpoints, each with its address and whether it is ready.
fn found(objects: &Objects) -> Vec<(String, bool)> {
    let endpoints = objects.slices.values().flat_map(|slice| &slice.endpoints);
    endpoints.map(|endpoint| (endpoint.address.to_string(), endpoint.ready)).collect()
}

#[test]
fn subsets_become_slices_of_each_family() {
    let both = format!(
        "{SUBSET}, {{addresses: [{{ip: '2001:db8::4'}}, {{ip: 192.0.2.42}}], ports: [{{name: x, port: 1}}]}}"
    );
    let objects = read(&(service("") + &endpoints("", &both)));
    assert_eq!(objects.errors, []);
    let expected = [("192.0.2.40", true), ("192.0.2.41", false), ("192.0.2.42", true), ("2001:db8::4", true)];
    assert_eq!(found(&objects), expected.map(|(address, ready)| (address.to_owned(), ready)));
    assert_eq!(objects.slices.len(), 3);
    let first = objects.slices.values().next().unwrap();
    assert_eq!((&*first.service, first.ports[0].port), ("db", 5432));
    assert_eq!(first.endpoints[0].node.as_deref(), Some("node-2"));
}

#[test]
fn what_the_controller_does_not_mirror_is_not_mirrored() {
    for metadata in [
        ", labels: {endpointslice.kubernetes.io/skip-mirror: 'true'}",
        ", annotations: {control-plane.alpha.kubernetes.io/leader: '{}'}",
    ] {
        assert_eq!(found(&read(&(service("") + &endpoints(metadata, SUBSET)))), [], "{metadata}");
    }
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{port: 5432}], \
        metadata: {name: db-1, labels: {kubernetes.io/service-name: db}}, endpoints: [{addresses: [10.0.0.1]}]}\n---\n";
    let objects = read(&(service("") + &endpoints("", SUBSET) + slice));
    assert_eq!(found(&objects), [("10.0.0.1".to_owned(), true)], "the Service's own slices come first");
    let pod =
        "{apiVersion: v1, kind: Pod, metadata: {name: db-0, labels: {app: db}}, status: {podIP: 10.0.0.2}}\n";
    let objects = read(&(service("selector: {app: db},") + &endpoints("", SUBSET) + pod));
    assert_eq!(found(&objects), [("10.0.0.2".to_owned(), true)], "so do Pods that are selected");
}

#[test]
fn addresses_that_cannot_be_endpoints_are_ignored_one_by_one() {
    let subset = "{addresses: [{ip: x}, {ip: 127.0.0.1}, {}, {ip: 192.0.2.40}], ports: [{port: 5432}]}";
    let objects = read(&(service("") + &endpoints("", subset)));
    assert_eq!(found(&objects), [("192.0.2.40".to_owned(), true)]);
    let warnings: Vec<String> = objects.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "-: Endpoints default/db: subsets[0].addresses[0].ip: \"x\" is not an IP address; the endpoint is ignored",
            "-: Endpoints default/db: subsets[0].addresses[1].ip: 127.0.0.1 is a loopback address; the endpoint is ignored",
            "-: Endpoints default/db: subsets[0].addresses[2].ip: is missing; the endpoint is ignored",
        ]
    );
    let broken = read(&(service("") + &endpoints("", "{addresses: [{ip: 192.0.2.40}], ports: [{name: x}]}")));
    assert_eq!(broken.errors.len(), 1, "{:?}", broken.errors);
}
