//! Services made up for benchmarks: the same for the same number, whoever is measured with them.

use std::{
    cell::RefCell,
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, Hints, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    state::State,
};

/// Endpoints of each Service.
pub const ENDPOINTS: u32 = 5;

/// The port of every Service; its protocol is TCP.
pub const PORT: u16 = 80;

/// The name of the node that the rules are made for.
pub const NODE: &str = "bench";

/// What the Services are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// A ClusterIP each.
    Plain,
    /// One in thirty with session affinity, one with source ranges, one under policy Local: a tenth in all.
    Mixed,
}

/// The Service that connections are made to: it takes the place of the one in the middle.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its ClusterIP.
    pub cluster_ip: Ipv4Addr,
    /// Its endpoints, on this node.
    pub endpoints: Vec<SocketAddr>,
}

/// So many Services, each a pure function of its number.
#[derive(Debug, Clone)]
pub struct Synthetic {
    services: u32,
    kinds: Kinds,
    probe: Option<Probe>,
}

impl Synthetic {
    /// `services` of them, from number 0.
    pub const fn new(services: u32, kinds: Kinds) -> Self {
        Self { services, kinds, probe: None }
    }

    /// The same with `probe` in the place of the Service in the middle.
    #[must_use]
    pub fn with_probe(self, probe: Probe) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// How many there are.
    pub const fn len(&self) -> u32 {
        self.services
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.services == 0
    }

    /// All of them as Portolan has them in memory before it compiles.
    pub fn state(&self) -> State {
        let mut state = State::new(Node { name: NODE.into(), ..Node::default() });
        for n in 0..self.services {
            let name = service_name(n);
            state.set_service(&name, Some(Arc::new(self.service(n, &name))));
            state.set_slice(&name, Some(Arc::new(self.slice(n, &name))));
        }
        state
    }

    /// The ClusterIP of Service `n`.
    pub fn cluster_ip(&self, n: u32) -> Ipv4Addr {
        self.probe_at(n).map_or_else(|| cluster_ip(n), |probe| probe.cluster_ip)
    }

    /// The endpoints of Service `n`.
    pub fn endpoints(&self, n: u32) -> Vec<SocketAddr> {
        self.probe_at(n).map_or_else(|| endpoints(n), |probe| probe.endpoints.clone())
    }

    /// Whether the endpoints of Service `n` are on this node.
    pub fn is_local(&self, n: u32) -> bool {
        self.probe_at(n).is_some()
    }

    fn probe_at(&self, n: u32) -> Option<&Probe> {
        self.probe.as_ref().filter(|_| n == self.services / 2)
    }

    fn service(&self, n: u32, name: &ObjectName) -> Service {
        let mut service = service(n, name, self.kinds);
        service.cluster_ips = vec![self.cluster_ip(n).into()];
        service
    }

    fn slice(&self, n: u32, name: &ObjectName) -> EndpointSlice {
        let mut slice = slice(name, &self.endpoints(n));
        if self.is_local(n) {
            slice.endpoints.iter_mut().for_each(|endpoint| endpoint.node = Some(intern(NODE)));
        }
        slice
    }
}

/// What many objects say is in the memory once, as the manifest source has it.
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

/// The name of Service `n`, and of its slice.
pub fn service_name(n: u32) -> ObjectName {
    ObjectName::new(intern(&format!("ns-{}", n % 100)), format!("service-{n}"))
}

/// Service `n`.
pub fn service(n: u32, name: &ObjectName, kinds: Kinds) -> Service {
    let plain = plain_service(n, name);
    let [_, a, b, c] = n.to_be_bytes();
    let load_balancer_ips = vec![[100, 64 + a, b, c].into()];
    match (kinds, n % 30) {
        (Kinds::Mixed, 0) => Service { affinity_timeout: Some(10_800), ..plain },
        (Kinds::Mixed, 10) => {
            let network = |a| ipnetwork::IpNetwork::new([a, b, c, 0].into(), 24).ok();
            Service {
                load_balancer_ips,
                source_ranges: [198, 203].into_iter().filter_map(network).collect(),
                ..plain
            }
        }
        (Kinds::Mixed, 20) => Service { load_balancer_ips, external_policy: TrafficPolicy::Local, ..plain },
        _ => plain,
    }
}

fn plain_service(n: u32, name: &ObjectName) -> Service {
    Service {
        name: name.clone(),
        created: None,
        cluster_ips: vec![IpAddr::V4(cluster_ip(n))],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity_timeout: None,
        load_balancing: LoadBalancing::Random,
        ports: vec![ServicePort {
            name: intern("http"),
            protocol: Protocol::Tcp,
            port: PORT,
            node_port: None,
        }],
    }
}

fn cluster_ip(n: u32) -> Ipv4Addr {
    let [_, a, b, c] = n.to_be_bytes();
    [172, 16 + a, b, c].into()
}

/// The endpoints of Service `n`.
pub fn endpoints(n: u32) -> Vec<SocketAddr> {
    let endpoint = |i: u32| {
        let [_, a, b, c] = (n * ENDPOINTS + i).to_be_bytes();
        SocketAddr::from(([10, a, b, c], 8080))
    };
    (0..ENDPOINTS).map(endpoint).collect()
}

/// A slice with these endpoints, on another node.
pub fn slice(name: &ObjectName, endpoints: &[SocketAddr]) -> EndpointSlice {
    let endpoint = |endpoint: &SocketAddr| Endpoint {
        address: endpoint.ip(),
        ready: true,
        serving: true,
        terminating: false,
        weight: 1,
        node: Some(intern("other")),
        hints: Hints::default(),
    };
    EndpointSlice {
        name: name.clone(),
        service: name.name.clone(),
        ports: vec![EndpointPort { name: intern("http"), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}
