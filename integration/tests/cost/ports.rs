//! Messages and bytes of one change of a Service with many ports: they depend on the change only.

use std::sync::Arc;

use portolan::{agent::cold_start, kernel::nftables::Kernel};
use portolan_integration::{
    Namespace, plan,
    synthetic::{Kinds, Synthetic, spare},
};
use portolan_rules::{
    compile::Compiler,
    model::{EndpointPort, EndpointSlice, Service, ServicePort},
    plane::Config,
    state::State,
};

/// Returns a Service and its slice, with this number of ports.
fn objects(synthetic: &Synthetic, n: u32, ports: u16) -> (Service, EndpointSlice) {
    let (mut service, mut slice) = (synthetic.service(n), synthetic.slices(n).remove(0));
    let (port, target) = (service.ports[0].clone(), slice.ports[0].clone());
    let name = |i| Arc::<str>::from(format!("port-{i:05}"));
    service.ports =
        (0..ports).map(|i| ServicePort { name: name(i), port: 1_000 + i, ..port.clone() }).collect();
    slice.ports =
        (0..ports).map(|i| EndpointPort { name: name(i), port: 20_000 + i, ..target.clone() }).collect();
    (service, slice)
}

/// Returns messages and bytes of a swapped endpoint and of one changed port, in one of several equal Services.
fn changes(services: u32, ports: u16) -> [(usize, usize); 2] {
    Namespace::new("cost").unwrap().enter(move || {
        let synthetic = Synthetic::new(services, Kinds::Plain);
        let mut state = State::new(synthetic.state().node().clone());
        for n in 0..services {
            let (service, slice) = objects(&synthetic, n, ports);
            state.set_service(&service.name.clone(), Some(Arc::new(service)));
            state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        }
        let (mut kernel, mut compiler) = (Kernel::open().unwrap(), Compiler::new(Config::default()));
        cold_start(&mut kernel, &mut compiler, &mut state).1.unwrap();
        let (mut service, mut slice) = objects(&synthetic, 1, ports);
        let mut commit = |state: &mut State| {
            let update = compiler.update(state);
            let commit = plan::commit(&mut kernel, &mut compiler, &update).unwrap();
            (commit.messages, commit.bytes)
        };
        slice.endpoints[2] = spare(&slice, 0);
        state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
        let swap = commit(&mut state);
        service.ports[0].port = 999;
        state.set_service(&service.name.clone(), Some(Arc::new(service)));
        [swap, commit(&mut state)]
    })
}

#[test]
fn a_changed_endpoint_costs_as_much_as_the_ports_it_has() {
    let [(_, one), (_, ten), (_, hundred)] = [1, 10, 100].map(|ports| changes(10, ports)[0]);
    let (few, many) = ((ten - one) / 9, (hundred - ten) / 90);
    assert!(many <= few + few / 8, "{few} bytes a port among ten, {many} among a hundred");
    assert!(many < 400, "{many} bytes a port");
}

#[test]
fn a_changed_port_costs_the_same_whatever_other_ports_there_are() {
    let [(few_messages, few), (messages, many)] = [10, 100].map(|ports| changes(10, ports)[1]);
    assert_eq!(messages, few_messages);
    assert!(many.abs_diff(few) <= 64, "{many} bytes, not {few}");
}

#[test]
fn a_change_costs_the_same_however_many_services_have_many_ports() {
    for (few, many) in changes(10, 50).into_iter().zip(changes(400, 50)) {
        assert_eq!(many.0, few.0, "messages");
        assert!(many.1.abs_diff(few.1) <= few.1 / 16, "{} bytes, not {}", many.1, few.1);
    }
}
