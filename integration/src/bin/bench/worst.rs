//! Services that demand as many chains, tables and slots as they can.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use portolan::agent::cold_start;
use portolan_integration::plan;
use portolan_rules::{
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, ObjectName, Protocol, Service, ServicePort,
        TrafficPolicy,
    },
    ruleset::Ruleset,
    state::State,
};

use super::{
    Result,
    arena::{best, compiler, fresh_kernel, median, retire, warm},
    cold::once,
    figure::Figure,
};

/// Most Services: as many as there are different timeouts that matter.
const MOST: u32 = 2_000;
const ROUNDS: usize = 5;
/// Changes of which the median is reported.
const CHANGES: u8 = 20;

/// A cold start compared with that of plain Services with as many endpoints at slots; and one more class.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let services = services.min(MOST);
    let (mut worst, mut without_affinity) = (State::default(), State::default());
    (0..services).for_each(|n| demanding(&mut worst, n));
    for state in [&mut worst, &mut without_affinity] {
        hashed(state, services);
        media(state, services + 1);
    }
    // With session affinity, each slot is an attribute.
    let slots = elements(&mut worst, "attributes") + elements(&mut without_affinity, "endpoints");
    let mut plain = State::default();
    (0..services).for_each(|n| put(&mut plain, service(n, 1), slots.div_ceil(services), |_| 1));

    let (mut worst_times, mut plain_times, mut longest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        warm()?;
        let start = once(&mut worst)?.0;
        longest.push(start.longest);
        worst_times.push(start.elapsed);
        plain_times.push(once(&mut plain)?.0.elapsed);
    }
    let (worst_time, plain_time) = (best(worst_times).as_secs_f64(), best(plain_times).as_secs_f64());
    let cold = Figure::new("worst", worst_time / plain_time);
    let (whole, kernel) = new_classes(&mut worst)?;
    Ok(vec![
        cold.with(format!("{:.0} ÷ {:.0} ms, {slots} slots", worst_time * 1e3, plain_time * 1e3)),
        Figure::new("worst-longest", best(longest).as_secs_f64()),
        Figure::new("worst-class", whole.as_secs_f64()).with(format!("{:.0} µs", kernel.as_secs_f64() * 1e6)),
    ])
}

/// The number of elements of all Services in a set.
fn elements(state: &mut State, set: &str) -> u32 {
    let mut compiler = compiler();
    compiler.load(state, &Ruleset::default());
    compiler.sizes().filter(|size| size.set.name() == set).map(|size| size.elements).sum()
}

/// An unrelated Service gets numbers of endpoints that no other has: event to commit, and the kernel's part.
fn new_classes(state: &mut State) -> Result<(Duration, Duration)> {
    let (mut kernel, mut compiler) = (fresh_kernel()?, compiler());
    cold_start(&mut kernel, &mut compiler, state).1?;
    let (mut wholes, mut kernels) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        put(state, service(1 << 15, 1), 100 + u32::from(change), |_| 1);
        let started = Instant::now();
        let update = compiler.update(state);
        let commit = plan::commit(&mut kernel, &mut compiler, &update)?;
        wholes.push(started.elapsed());
        kernels.push(commit.kernel);
    }
    retire(kernel)?;
    Ok((median(wholes), median(kernels)))
}

/// A Service with a timeout of its own and one of many policies, weights, numbers of endpoints and frontends.
fn demanding(state: &mut State, n: u32) {
    let [_, a, b, c] = n.to_be_bytes();
    let mut service = service(n, 1 + (n % 3) as u16);
    service.affinity_timeout = Some(1 + n * 43);
    if n.is_multiple_of(2) {
        service.load_balancer_ips = vec![[100, 64 + a, b, c].into()];
    }
    if n.is_multiple_of(4) {
        service.external_policy = TrafficPolicy::Local;
    }
    if n.is_multiple_of(8) {
        service.source_ranges = ipnetwork::IpNetwork::new([198, a, b, c].into(), 32).into_iter().collect();
    }
    if n.is_multiple_of(5) {
        service.internal_policy = TrafficPolicy::Local;
    }
    if n % 100 == 7 {
        service.load_balancing = LoadBalancing::SourceHash;
    }
    let weighs = n.is_multiple_of(7);
    put(state, service, 5 + n % 47, |i| if weighs { 1 + (i % 3) as u16 } else { 1 });
}

/// A large table at each of twenty ports.
fn hashed(state: &mut State, n: u32) {
    put(state, Service { load_balancing: LoadBalancing::SourceHash, ..service(n, 20) }, 65, |_| 1);
}

/// Very many UDP ports, as media servers use them.
fn media(state: &mut State, n: u32) {
    let mut service = service(n, 4_000);
    service.ports.iter_mut().for_each(|port| port.protocol = Protocol::Udp);
    put(state, service, 2, |_| 1);
}

fn service(n: u32, ports: u16) -> Service {
    let [_, a, b, c] = n.to_be_bytes();
    let port = |i: u16| ServicePort {
        name: i.to_string().into(),
        protocol: Protocol::Tcp,
        port: 1 + i,
        node_port: None,
    };
    let name = ObjectName::new("default", format!("service-{n}"));
    Service::cluster_ip(name, vec![[172, 16 + a, b, c].into()], (0..ports).map(port).collect())
}

/// Adds a Service with this many endpoints, some of them on this node, each with a weight.
fn put(state: &mut State, service: Service, endpoints: u32, weight: impl Fn(u32) -> u16) {
    let name = service.name.clone();
    let ports = service.ports.iter().zip(8000..).map(|(port, number)| EndpointPort {
        name: port.name.clone(),
        protocol: port.protocol,
        port: number,
    });
    let node = state.node().name.clone();
    let endpoint = |i: u32| {
        let [_, a, b, c] = i.to_be_bytes();
        let node = if i.is_multiple_of(8) { node.clone() } else { "other".into() };
        Endpoint { weight: weight(i), node: Some(node), ..Endpoint::ready([10, a, b, c].into()) }
    };
    let slice = EndpointSlice {
        name: ObjectName::new(name.namespace.clone(), format!("{}-0", name.name)),
        service: name.name.clone(),
        ports: ports.collect(),
        endpoints: (0..endpoints).map(endpoint).collect(),
    };
    state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
    state.set_service(&name, Some(Arc::new(service)));
}
