//! What stays of a Service whose manifest cannot be read: all that its packets need.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::{Compiler, Config},
    diff::diff,
    leftovers::keep_leftovers,
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    ruleset::Ruleset,
    state::State,
};

/// A Service of every treatment behind one another: `n` tells their addresses and node ports apart.
fn service(n: u8) -> Service {
    let cluster_ips = vec![[10, 96, 0, n].into(), format!("fd00::{n}").parse().unwrap()];
    let node_port = Some(30000 + u16::from(n));
    let ports = vec![ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port }];
    Service {
        load_balancer_ips: vec![[198, 51, 100, n].into(), format!("fd02::{n}").parse().unwrap()],
        source_ranges: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        external_policy: if n.is_multiple_of(2) { TrafficPolicy::Cluster } else { TrafficPolicy::Local },
        affinity_timeout: (!n.is_multiple_of(3)).then_some(60 * u32::from(n)),
        load_balancing: if n.is_multiple_of(3) { LoadBalancing::SourceHash } else { LoadBalancing::Random },
        ..Service::cluster_ip(ObjectName::new("default", format!("s{n}")), cluster_ips, ports)
    }
}

fn slice(n: u8) -> EndpointSlice {
    let endpoint = |last: u8, address: IpAddr| Endpoint {
        node: Some(if last.is_multiple_of(2) { "here" } else { "elsewhere" }.into()),
        ..Endpoint::ready(address)
    };
    EndpointSlice {
        name: ObjectName::new("default", format!("s{n}")),
        service: format!("s{n}").into(),
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: (0..=n)
            .flat_map(|last| {
                let addresses = [[10, 0, n, last].into(), format!("fd01::{n}:{last}").parse().unwrap()];
                addresses.map(|address| endpoint(last, address))
            })
            .collect(),
    }
}

/// What is to be programmed for these Services, on a node whose kernel has this.
fn compiled(services: &[u8], kernel: &Ruleset) -> Ruleset {
    let mut state = State::new(Node { name: "here".into(), ..Node::default() });
    for n in services {
        let service = service(*n);
        state.set_service(&service.name.clone(), Some(Arc::new(service)));
        state.set_slice(&slice(*n).name, Some(Arc::new(slice(*n))));
    }
    let mut compiler = Compiler::new(Config::default());
    compiler.set_node_addresses(&BTreeSet::from([[192, 0, 2, 1].into()]));
    assert_eq!(compiler.load(&mut state, kernel), []);
    compiler.ruleset()
}

const ALL: [u8; 6] = [1, 2, 3, 4, 5, 6];

#[test]
fn nothing_changes_for_services_that_cannot_be_read() {
    let kernel = compiled(&ALL, &Ruleset::default());
    for readable in [&[][..], &[1], &[2, 3], &[4, 5, 6], &ALL] {
        let mut desired = compiled(readable, &kernel);
        keep_leftovers(&mut desired, &kernel);
        let changes = diff(&"portolan".into(), &kernel, &desired);
        assert!(changes.is_empty(), "with {readable:?}: {changes:#?}");
    }
}

#[test]
fn services_that_can_be_read_change_beside_them_and_the_rest_goes_once_all_can() {
    let kernel = compiled(&[1, 2, 3, 4], &Ruleset::default());
    let mut desired = compiled(&[2, 5, 6], &kernel);
    keep_leftovers(&mut desired, &kernel);
    let both = diff(&"portolan".into(), &kernel, &desired).apply(&kernel).unwrap();
    assert_eq!(both, desired);

    let last = compiled(&[2, 5, 6], &both);
    let changes = diff(&"portolan".into(), &both, &last);
    assert_eq!(changes.apply(&both).unwrap(), last);
}
