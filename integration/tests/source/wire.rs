//! Connections to the API server, and the requests and answers on them.

use std::{thread::sleep, time::Duration};

use portolan::{config::settings::ApiSettings, source::cluster::Timing};
use portolan_integration::{ApiServer, Resource, Verb};
use serde_json::{Value, json};

use crate::world::*;

const CREATED: &str = "2023-11-14T22:13:20Z";

fn stored(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "default", "creationTimestamp": CREATED},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": port}]},
    })
}

fn filled_server() -> ApiServer {
    let server = server();
    server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    server.put_all((0..100).map(|number| stored(&format!("a-{number}"), 80)));
    server
}

fn listed(server: ApiServer, timing: Timing) -> World {
    let mut world = World::new(server, timing);
    world.update_until(|world| world.services.len() == 100 && world.node.is_some());
    while watches(&world) < 4 {
        sleep(Duration::from_millis(10));
    }
    world
}

/// Returns how many watches there have been.
fn watches(world: &World) -> usize {
    world.server.requests().iter().filter(|request| request.verb == Verb::Watch).count()
}

#[test]
fn a_node_has_one_connection() {
    let mut world = listed(filled_server(), timing());
    assert_eq!((watches(&world), world.server.connections()), (4, 1));
    world.server.put(stored("b", 80));
    world.update_until(|world| world.services.len() == 101);
    // The same after the connection broke.
    world.server.drop_connections().unwrap();
    world.server.put(stored("c", 80));
    world.update_until(|world| world.services.len() == 102);
    let again = |world: &World| watches(world) >= 8;
    while !again(&world) {
        sleep(Duration::from_millis(10));
    }
    assert_eq!(world.server.connections(), 2);
}

#[test]
fn a_server_without_http2_is_served_over_http1() {
    let mut server = filled_server();
    server.offer_http1_only().unwrap();
    let mut world = listed(server, timing());
    assert!(world.server.connections() >= 4, "one for each watch");
    world.server.put(stored("b", 80));
    world.update_until(|world| world.services.len() == 101);
}

/// kube-apiserver sends this from time to time, so that connections spread over all servers.
#[test]
fn a_server_that_asks_to_leave_costs_no_position_and_no_list() {
    let watch = Duration::from_secs(4);
    let mut world = listed(filled_server(), Timing { watch, ..timing() });
    world.server.retire_connections().unwrap();
    // The running watches continue on the old connection.
    world.server.put(stored("b", 80));
    world.update_until(|world| world.services.len() == 101);
    assert_eq!(world.server.connections(), 1);
    // When they end, the next watches go to the other server.
    while world.server.connections() < 2 || watches(&world) < 8 {
        sleep(Duration::from_millis(10));
    }
    world.server.put(stored("c", 80));
    world.update_until(|world| world.services.len() == 102);
    let lists = world.queries(Resource::Services).into_iter().filter(|(_, it)| !it.contains("watch="));
    assert_eq!(lists.count(), 1, "{:#?}", world.server.requests());
}

/// Returns objects of every kind, with every field that the source reads.
fn rich() -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::/64"], "taints": [{"key": "x"}]},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"},
            ]},
        }),
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": ["10.96.0.0/12", "fd00::/112"]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "web", "namespace": "default", "creationTimestamp": CREATED,
                "labels": {"app": "web", "empty": ""}, "annotations": {"portolan.io/load-balancing": "source-hash"},
            },
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"],
                "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack",
                "externalIPs": ["198.51.100.1"], "loadBalancerSourceRanges": ["203.0.113.0/24"],
                "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "healthCheckNodePort": 31_000,
                "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
                "publishNotReadyAddresses": true,
                "ports": [
                    {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web", "nodePort": 30_080},
                    {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353, "nodePort": 30_053},
                ],
            },
            "status": {"loadBalancer": {"ingress": [
                {"ip": "198.51.100.9", "ipMode": "VIP"}, {"ip": "198.51.100.8", "ipMode": "Proxy"},
            ]}},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"},
                "annotations": {"portolan.io/weights": "10.1.0.2=3"},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}, {"name": "dns", "protocol": "UDP", "port": 53}],
            "endpoints": [
                {"addresses": ["10.1.0.2"], "nodeName": "n1", "conditions": {"ready": true}},
                {"addresses": ["10.1.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {
                    "addresses": ["10.1.0.4"],
                    "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "n1"}, {"name": "n2"}]},
                },
            ],
        }),
    ]
}

/// Returns a world that has read these objects, after `prepare` has changed the server.
fn known(prepare: impl FnOnce(&ApiServer)) -> World {
    let server = server();
    server.put_all(rich());
    server.put_all((0..700).map(|number| stored(&format!("a-{number}"), 80)));
    prepare(&server);
    let mut world = World::new(server, timing());
    world
        .update_until(|world| world.services.len() == 701 && world.node.is_some() && !world.cidrs.is_empty());
    world.server.put(stored("a-0", 81));
    world.server.delete(Resource::Services, "default", "a-1");
    world.update_until(|world| world.services.len() == 700 && world.port("a-0") == 81);
    world
}

#[test]
fn objects_are_the_same_in_protobuf_and_in_json_in_one_piece_and_in_pages() {
    let json = known(ApiServer::refuse_protobuf);
    assert!(json.server.requests().iter().all(|request| !request.is_protobuf));
    let cached = known(|_| {});
    let paged = known(ApiServer::disable_watch_cache);
    let is_list = |request: &&portolan_integration::Request| request.verb == Verb::List;
    assert!(cached.server.requests().iter().filter(is_list).all(|request| request.takes_gzip));
    for world in [cached, paged] {
        assert!(world.server.requests().iter().all(|request| request.is_protobuf));
        assert!(world.services == json.services, "{:#?}", world.services.values().last());
        assert_eq!(world.slices, json.slices);
        assert_eq!((world.node, &world.cidrs), (json.node.clone(), &json.cidrs));
    }
}

#[test]
fn a_configured_type_of_content_is_kept_to() {
    let server = filled_server();
    let api = ApiSettings { is_json: true, ..ApiSettings::default() };
    let mut world = World::with_settings(server, options(timing()), api);
    world.update_until(|world| world.services.len() == 100);
    assert!(world.server.requests().iter().all(|request| !request.is_protobuf));
}
