//! Services, slices and ServiceCIDRs with so few addresses that they often collide.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portolan_rules::{
    compile::Compiler,
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol, Service, ServicePort},
    plane::Config,
    state::State,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::cluster;

/// Addresses that are at random ClusterIPs, load balancer addresses, externalIPs or endpoints.
pub const CLUSTER_IPS: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "fd00::1"];
pub const OTHERS: [&str; 4] = ["203.0.113.1", "192.0.2.1", "10.0.0.1", "10.0.0.2"];
pub const CIDRS: [&[&str]; 4] = [&[], &["10.96.0.0/16", "fd00::/112"], &["10.96.0.2/31"], &["10.0.0.2/32"]];

#[derive(Clone, Debug)]
pub struct Shape {
    pub created: Option<i64>,
    pub cluster_ip: &'static str,
    pub load_balancer: Vec<&'static str>,
    pub external: Vec<&'static str>,
    pub ports: Vec<u16>,
    pub udp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Ready,
    Terminating,
    Unready,
}

#[derive(Clone, Debug)]
pub enum Change {
    Service(u8, Option<Shape>),
    Slice(u8, u8, Option<Vec<(&'static str, Condition)>>),
    Cidrs(usize),
    Quarantine(u8, bool),
}

/// The objects that exist, by name.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    pub slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub cidrs: usize,
}

pub fn any_address() -> impl Strategy<Value = &'static str> {
    prop_oneof![select(&CLUSTER_IPS[..]), select(&OTHERS[..])]
}

pub fn shape() -> impl Strategy<Value = Shape> {
    let addresses = || vec(any_address(), 0..3);
    let ports = select(vec![vec![80], vec![81], vec![80, 81]]);
    (option::of(0i64..3), select(&CLUSTER_IPS[..]), addresses(), addresses(), ports, any::<bool>()).prop_map(
        |(created, cluster_ip, load_balancer, external, ports, udp)| Shape {
            created,
            cluster_ip,
            load_balancer,
            external,
            ports,
            udp,
        },
    )
}

pub fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![4 => Just(Condition::Ready), 1 => Just(Condition::Terminating), 1 => Just(Condition::Unready)]
}

pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0u8..4, option::weighted(0.8, shape())).prop_map(|(n, shape)| Change::Service(n, shape)),
        6 => (0u8..4, 0u8..4, option::weighted(0.9, vec((any_address(), condition()), 0..4)))
            .prop_map(|(owner, n, endpoints)| Change::Slice(owner, n, endpoints)),
        1 => (0..CIDRS.len()).prop_map(Change::Cidrs),
        1 => (0u8..4, any::<bool>()).prop_map(|(n, is_in)| Change::Quarantine(n, is_in)),
    ]
}

pub fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

pub fn name(n: u8) -> ObjectName {
    ObjectName::new("default", format!("svc-{n}"))
}

pub fn service(name: ObjectName, shape: &Shape) -> Service {
    let protocol = if shape.udp { Protocol::Udp } else { Protocol::Tcp };
    let port =
        |port: &u16| ServicePort { name: port.to_string().into(), protocol, port: *port, node_port: None };
    Service {
        created: shape.created,
        load_balancer_ips: addresses(&shape.load_balancer),
        external_ips: addresses(&shape.external),
        health_check_node_port: Some(32_000),
        ..Service::cluster_ip(name, addresses(&[shape.cluster_ip]), shape.ports.iter().map(port).collect())
    }
}

/// Whether an endpoint with this address is on this node.
pub fn is_here(address: IpAddr) -> bool {
    address.to_string().ends_with('1')
}

pub fn slice(name: ObjectName, owner: &str, endpoints: &[(&str, Condition)]) -> EndpointSlice {
    let ports = [80u16, 81].iter().flat_map(|port| {
        [Protocol::Tcp, Protocol::Udp].map(|protocol| EndpointPort {
            name: port.to_string().into(),
            protocol,
            port: 8080,
        })
    });
    let endpoint = |(address, condition): &(&str, Condition)| {
        let address = address.parse().unwrap();
        Endpoint {
            node: Some(if is_here(address) { "here" } else { "there" }.into()),
            ready: *condition == Condition::Ready,
            serving: *condition != Condition::Unready,
            terminating: *condition == Condition::Terminating,
            ..Endpoint::ready(address)
        }
    };
    let endpoints = endpoints.iter().map(endpoint).collect();
    EndpointSlice { name, service: owner.into(), ports: ports.collect(), endpoints }
}

/// These addresses as ready endpoints.
pub fn ready(addresses: &[&'static str]) -> Vec<(&'static str, Condition)> {
    addresses.iter().map(|address| (*address, Condition::Ready)).collect()
}

impl Objects {
    /// Makes a change, in these objects and in the compiler's state.
    pub fn apply(&mut self, change: &Change, compiler: &mut Compiler, state: &mut State) {
        match change {
            Change::Service(n, shape) => {
                let service = shape.as_ref().map(|shape| Arc::new(service(name(*n), shape)));
                state.set_service(&name(*n), service.clone());
                match service {
                    Some(service) => self.services.insert(name(*n), service),
                    None => self.services.remove(&name(*n)),
                };
            }
            Change::Slice(owner, n, endpoints) => {
                let of = ObjectName::new("default", format!("slice-{n}"));
                let owner = &name(*owner).name;
                let slice = endpoints.as_ref().map(|list| Arc::new(slice(of.clone(), owner, list)));
                state.set_slice(&of, slice.clone());
                match slice {
                    Some(slice) => self.slices.insert(of, slice),
                    None => self.slices.remove(&of),
                };
            }
            Change::Cidrs(cidrs) => {
                self.cidrs = *cidrs;
                self.set_cidrs(compiler, state);
            }
            Change::Quarantine(n, is_in) => state.quarantine(&name(*n), *is_in),
        }
    }

    pub fn set_cidrs(&self, compiler: &mut Compiler, state: &mut State) {
        let networks: Vec<_> = CIDRS[self.cidrs].iter().map(|network| network.parse().unwrap()).collect();
        compiler.set_service_cidrs(state, &networks);
    }

    /// A new compiler and the state for it; ServiceCIDRs are set first or last.
    pub fn fresh(&self, of: &State, cidrs_first: bool) -> (Compiler, State) {
        let (mut compiler, mut state) = (Compiler::new(Config::default()), cluster::state());
        if cidrs_first {
            self.set_cidrs(&mut compiler, &mut state);
            state.replace_slices(self.slices.clone().into_iter().collect());
        }
        state.replace_services(self.services.clone().into_iter().collect());
        if !cidrs_first {
            state.replace_slices(self.slices.clone().into_iter().collect());
            self.set_cidrs(&mut compiler, &mut state);
        }
        of.quarantined().iter().for_each(|name| state.quarantine(name, true));
        (compiler, state)
    }

    /// The Services that have a ClusterIP.
    pub fn with_cluster_ip(&self, address: IpAddr) -> Vec<&ObjectName> {
        let with = self.services.values().filter(|service| service.cluster_ips.contains(&address));
        with.map(|service| &service.name).collect()
    }

    /// The addresses of a Service's endpoints on this node that are ready, according to the last slice, and that can
    /// be endpoints.
    pub fn ready_here(&self, service: &Service) -> BTreeSet<IpAddr> {
        let slices = self.slices.values().filter(|slice| slice.service == service.name.name);
        let mut said: BTreeMap<IpAddr, &Endpoint> = BTreeMap::new();
        for endpoint in slices.flat_map(|slice| &slice.endpoints) {
            if !endpoint.terminating || !said.contains_key(&endpoint.address) {
                said.insert(endpoint.address, endpoint);
            }
        }
        let counts = |(address, endpoint): &(&IpAddr, &&Endpoint)| {
            let is_free = self.with_cluster_ip(**address).is_empty() && !self.is_in_cidr(**address);
            is_free
                && endpoint.ready
                && is_here(**address)
                && address.is_ipv4() == service.cluster_ips[0].is_ipv4()
        };
        said.iter().filter(counts).map(|(address, _)| *address).collect()
    }

    pub fn is_in_cidr(&self, address: IpAddr) -> bool {
        let mut networks = CIDRS[self.cidrs].iter();
        networks.any(|network| network.parse::<ipnetwork::IpNetwork>().unwrap().contains(address))
    }
}
