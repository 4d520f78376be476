//! Synthetic Services for benchmarks: the same number gives the same Services in every benchmark.

mod objects;

use std::{
    cell::RefCell,
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort, ServiceType,
        TrafficPolicy,
    },
    ruleset::Family,
    state::State,
};

pub use self::objects::Format;

/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 5;

/// The port of every Service; its protocol is TCP.
pub const PORT: u16 = 80;

/// The name of the node that the rules are made for.
pub const NODE: &str = "bench";

/// The port of every endpoint.
const ENDPOINT_PORT: u16 = 8080;
/// Most endpoints in one slice, as set by the API server.
const IN_SLICE: usize = 100;
/// When the Services were created, in seconds since 1970.
const CREATED: i64 = 1_748_779_200;
/// The first node port.
const FIRST_NODE_PORT: u32 = 20_000;

/// The kinds of Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// Each Service has a ClusterIP.
    Plain,
    /// Of thirty Services, one has session affinity, one has source ranges, and one uses policy Local: a tenth in all.
    Mixed,
    /// Each Service has a ClusterIP and endpoints of both families.
    DualStack,
    /// Service number 0 has this many endpoints.
    Large(u32),
    /// The given number of Services, from number 0 on, have a node port.
    NodePorts(u32),
}

/// The Service that connections are made to; it replaces the Service in the middle.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its ClusterIP.
    pub cluster_ip: Ipv4Addr,
    /// Its endpoints, on this node.
    pub endpoints: Vec<SocketAddr>,
}

/// A number of Services, each a pure function of its number.
#[derive(Debug, Clone)]
pub struct Synthetic {
    services: u32,
    kinds: Kinds,
    probe: Option<Probe>,
}

impl Synthetic {
    /// Services with the numbers from 0 to `services - 1`.
    pub const fn new(services: u32, kinds: Kinds) -> Self {
        Self { services, kinds, probe: None }
    }

    /// The same Services, with `probe` in place of the Service in the middle.
    #[must_use]
    pub fn with_probe(self, probe: Probe) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// The number of Services.
    pub const fn len(&self) -> u32 {
        self.services
    }

    /// Whether there are no Services.
    pub const fn is_empty(&self) -> bool {
        self.services == 0
    }

    /// All Services, as Portolan holds them in memory before it compiles.
    pub fn state(&self) -> State {
        let mut state = State::new(Node { name: NODE.into(), ..Node::default() });
        for n in 0..self.services {
            state.set_service(&service_name(n), Some(Arc::new(self.service(n))));
            for slice in self.slices(n) {
                state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
            }
        }
        state
    }

    /// The ClusterIP of Service `n`.
    pub fn cluster_ip(&self, n: u32) -> Ipv4Addr {
        let [_, a, b, c] = n.to_be_bytes();
        self.probe_at(n).map_or_else(|| [172, 16 + a, b, c].into(), |probe| probe.cluster_ip)
    }

    /// The IPv4 endpoints of Service `n`.
    pub fn endpoints(&self, n: u32) -> Vec<SocketAddr> {
        if let Some(probe) = self.probe_at(n) {
            return probe.endpoints.clone();
        }
        let (first, count) = match self.kinds {
            Kinds::Large(count) if n == 0 => (1 << 23, count),
            _ => (n * ENDPOINTS, ENDPOINTS),
        };
        let endpoint = |i: u32| {
            let [_, a, b, c] = i.to_be_bytes();
            SocketAddr::from(([10, a, b, c], ENDPOINT_PORT))
        };
        (first..first + count).map(endpoint).collect()
    }

    /// Whether the endpoints of Service `n` are on this node.
    pub fn is_local(&self, n: u32) -> bool {
        self.probe_at(n).is_some()
    }

    fn probe_at(&self, n: u32) -> Option<&Probe> {
        self.probe.as_ref().filter(|_| n == self.services / 2)
    }

    /// Service `n`.
    pub fn service(&self, n: u32) -> Service {
        let mut service = plain_service(n, self.cluster_ip(n).into());
        let [_, a, b, c] = n.to_be_bytes();
        let load_balancer_ips = vec![[100, 64 + a, b, c].into()];
        match (self.kinds, n % 30) {
            (Kinds::Mixed, 0) => service.affinity_timeout = Some(10_800),
            (Kinds::Mixed, 10) => {
                let network = |a| ipnetwork::IpNetwork::new([a, b, c, 0].into(), 24).ok();
                service.service_type = ServiceType::LoadBalancer;
                service.load_balancer_ips = load_balancer_ips;
                service.source_ranges = [198, 203].into_iter().filter_map(network).collect();
            }
            (Kinds::Mixed, 20) => {
                service.service_type = ServiceType::LoadBalancer;
                service.load_balancer_ips = load_balancer_ips;
                service.external_policy = TrafficPolicy::Local;
                service.health_check_node_port = Some(20_000 + (n / 30 % 10_000) as u16);
            }
            (Kinds::DualStack, _) => service.cluster_ips.push(ipv6(0x10, n).into()),
            (Kinds::NodePorts(count), _) if n < count => {
                service.service_type = ServiceType::NodePort;
                service.ports.iter_mut().for_each(|port| port.node_port = Some((FIRST_NODE_PORT + n) as u16));
            }
            _ => {}
        }
        service
    }

    /// The slices of Service `n`: each of one family, with at most 100 endpoints.
    pub fn slices(&self, n: u32) -> Vec<EndpointSlice> {
        let node = intern(if self.is_local(n) { NODE } else { "other" });
        let mut addresses = vec![self.endpoints(n).iter().map(SocketAddr::ip).collect::<Vec<_>>()];
        if self.kinds == Kinds::DualStack {
            addresses.push((0..ENDPOINTS).map(|i| ipv6(0x20, n * ENDPOINTS + i).into()).collect());
        }
        let service = service_name(n);
        let slice = |(i, addresses): (usize, &[IpAddr])| EndpointSlice {
            // The API server appends five random letters.
            name: ObjectName::new(service.namespace.clone(), format!("{}-{i:05}", service.name)),
            service: service.name.clone(),
            ports: vec![EndpointPort { name: intern("http"), protocol: Protocol::Tcp, port: ENDPOINT_PORT }],
            endpoints: addresses.iter().map(|address| endpoint(*address, &node)).collect(),
        };
        addresses.iter().flat_map(|addresses| addresses.chunks(IN_SLICE)).enumerate().map(slice).collect()
    }
}

/// Shares a text that many objects contain, as the manifest source does.
fn intern(text: &str) -> Arc<str> {
    thread_local!(static KNOWN: RefCell<HashSet<Arc<str>>> = RefCell::default());
    KNOWN.with_borrow_mut(|known| {
        if let Some(known) = known.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        known.insert(new.clone());
        new
    })
}

/// The name of Service `n`.
pub fn service_name(n: u32) -> ObjectName {
    ObjectName::new(intern(&format!("ns-{}", n % 100)), format!("service-{n}"))
}

fn plain_service(n: u32, cluster_ip: IpAddr) -> Service {
    let port = ServicePort { name: intern("http"), protocol: Protocol::Tcp, port: PORT, node_port: None };
    Service { created: Some(CREATED), ..Service::cluster_ip(service_name(n), vec![cluster_ip], vec![port]) }
}

fn endpoint(address: IpAddr, node: &Arc<str>) -> Endpoint {
    Endpoint { node: Some(node.clone()), ..Endpoint::ready(address) }
}

fn ipv6(network: u16, n: u32) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, network, 0, 0, 0, 0, (n >> 16) as u16, n as u16)
}

/// An address of the slice's family that no endpoint has; different for each number.
pub fn spare(slice: &EndpointSlice, i: u32) -> Endpoint {
    let [_, a, b, c] = i.to_be_bytes();
    let family = slice.endpoints.first().map_or(Family::Ip, |endpoint| Family::of(endpoint.address));
    let address: IpAddr = match family {
        Family::Ip => [10, 192 + a, b, c].into(),
        Family::Ip6 => ipv6(0x30, i).into(),
    };
    endpoint(address, &intern("other"))
}
