//! A few Services, and what may happen to them.

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, ServiceType, TrafficPolicy,
    },
    state::State,
};
use proptest::{collection::vec, option, prelude::*};

/// What a change does to one of a few Services.
#[derive(Clone, Debug)]
pub enum Change {
    Service { name: u8, service: Option<Shape> },
    Slice { service: u8, slice: u8, endpoints: Option<Vec<(u8, bool)>> },
    Zone(u8),
}

/// The features of a Service that decide its frontends.
#[derive(Clone, Debug)]
pub struct Shape {
    created: Option<i64>,
    cluster_ip: u8,
    dual_stack: bool,
    external: Option<u8>,
    node_port: Option<u8>,
    port: u8,
    udp: bool,
    local: (bool, bool),
    load_balancer: Option<u8>,
    ranges: Vec<u8>,
    affinity: Option<u32>,
    source_hash: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    let kinds = (option::of(0u8..3), option::of(0u8..3), option::of(0u8..3));
    (
        (option::of(0i64..3), 0u8..6, any::<bool>(), kinds, 0u8..3, any::<bool>()),
        (any::<(bool, bool)>(), vec(0u8..8, 0..3)),
        (option::weighted(0.3, 60u32..62), prop::bool::weighted(0.05)),
    )
        .prop_map(|(basics, (local, ranges), (affinity, source_hash))| {
            let (created, cluster_ip, dual_stack, kinds, port, udp) = basics;
            Shape {
                created,
                cluster_ip,
                dual_stack,
                external: kinds.0,
                node_port: kinds.1,
                load_balancer: kinds.2,
                port,
                udp,
                local,
                ranges,
                affinity,
                source_hash,
            }
        })
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0u8..5, option::weighted(0.8, shape())).prop_map(|(name, service)| Change::Service { name, service }),
        5 => (0u8..5, 0u8..2, option::weighted(0.9, vec((0u8..12, any::<bool>()), 0..8)))
            .prop_map(|(service, slice, endpoints)| Change::Slice { service, slice, endpoints }),
        1 => (0u8..3).prop_map(Change::Zone),
    ]
}

/// A Service with a ClusterIP and perhaps a node port, nothing else.
pub fn plain_shape(node_port: Option<u8>) -> Shape {
    Shape {
        created: None,
        cluster_ip: 1,
        dual_stack: false,
        external: None,
        node_port,
        port: 0,
        udp: false,
        local: (false, false),
        load_balancer: None,
        ranges: Vec::new(),
        affinity: None,
        source_hash: false,
    }
}

pub fn service(name: &ObjectName, shape: &Shape) -> Service {
    let mut cluster_ips: Vec<IpAddr> = vec![[10, 96, 0, shape.cluster_ip].into()];
    if shape.dual_stack {
        cluster_ips.push(format!("fd00::{}", shape.cluster_ip).parse().unwrap());
    }
    let protocol = if shape.udp { Protocol::Udp } else { Protocol::Tcp };
    Service {
        name: name.clone(),
        created: shape.created,
        service_type: ServiceType::ClusterIp,
        cluster_ips,
        external_ips: shape.external.iter().map(|n| [192, 0, 2, *n].into()).collect(),
        load_balancer_ips: shape.load_balancer.iter().map(|n| [192, 0, 2, *n].into()).collect(),
        source_ranges: shape
            .ranges
            .iter()
            .map(|n| format!("10.0.{}.0/2{}", n / 2, n % 4 + 2).parse().unwrap())
            .collect(),
        internal_policy: policy(shape.local.0),
        external_policy: policy(shape.local.1),
        affinity_timeout: shape.affinity,
        load_balancing: if shape.source_hash { LoadBalancing::SourceHash } else { LoadBalancing::Random },
        health_check_node_port: None,
        ports: vec![ServicePort {
            name: "".into(),
            protocol,
            port: 80 + u16::from(shape.port),
            node_port: shape.node_port.map(|n| 30000 + u16::from(n)),
        }],
    }
}

fn policy(local: bool) -> TrafficPolicy {
    if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

pub fn slice(name: &ObjectName, service: &str, endpoints: &[(u8, bool)]) -> EndpointSlice {
    let endpoint = |(n, ready): &(u8, bool)| Endpoint {
        address: if n % 4 == 0 { format!("fd01::{n}").parse().unwrap() } else { [10, 0, 0, *n].into() },
        ready: *ready,
        serving: *ready,
        terminating: false,
        weight: u16::from(*n % 5),
        node: Some(if n % 2 == 0 { "here" } else { "there" }.into()),
        hints: Hints::new(vec![format!("zone-{}", n % 3).into()], Vec::new()),
    };
    let port = |protocol| EndpointPort { name: "".into(), protocol, port: 8080 };
    EndpointSlice {
        name: name.clone(),
        service: service.into(),
        ports: vec![port(Protocol::Tcp), port(Protocol::Udp)],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

pub fn apply(state: &mut State, change: &Change) {
    match change {
        Change::Service { name, service: shape } => {
            let name = ObjectName::new("default", format!("svc-{name}"));
            state.set_service(&name, shape.as_ref().map(|shape| Arc::new(service(&name, shape))));
        }
        Change::Slice { service, slice: n, endpoints } => {
            let owner = format!("svc-{service}");
            let name = ObjectName::new("default", format!("{owner}-{n}"));
            let endpoints = endpoints.as_ref().map(|e| Arc::new(slice(&name, &owner, e)));
            state.set_slice(&name, endpoints);
        }
        Change::Zone(zone) => {
            let zone = Some(format!("zone-{zone}").into());
            state.set_node(Node { zone, ..state.node().clone() });
        }
    }
}

/// An empty state, on the node `here`.
pub fn state() -> State {
    State::new(Node { name: "here".into(), ..Node::default() })
}
