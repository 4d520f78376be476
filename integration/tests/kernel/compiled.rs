//! The compiler's output for Services of every kind, read back from the kernel and listed by nft.

use std::{net::IpAddr, sync::Arc};

use portolan_rules::{
    compile::Compiler,
    model::{
        Endpoint, EndpointPort, EndpointSlice, LoadBalancing, Node, ObjectName, Protocol, Service,
        ServicePort, TrafficPolicy,
    },
    plane::{Config, PodDetector},
    ruleset::Ruleset,
    state::State,
};

use crate::namespace::{commit, expect, kernel, list, loadable, nft};

/// Returns a Service with every kind of frontend in both families, without policies.
fn service(n: u8) -> Service {
    let both = |v4: [u8; 4], v6: &str| -> Vec<IpAddr> {
        vec![v4.into(), format!("{v6}::{n}").parse().expect("an address")]
    };
    let port = ServicePort {
        name: "".into(),
        protocol: Protocol::ALL[usize::from(n % 3)],
        port: 80,
        node_port: Some(30000 + u16::from(n)),
    };
    Service {
        load_balancer_ips: both([192, 0, 2, n], "fd02"),
        external_ips: both([198, 51, 100, n], "fd03"),
        ..Service::cluster_ip(
            ObjectName::new("default", format!("kind-{n}")),
            both([10, 96, 0, n], "fd00"),
            vec![port],
        )
    }
}

fn slice(service: &Service, family: u8, endpoints: u8) -> EndpointSlice {
    let address = |i: u8| -> IpAddr {
        match family {
            4 => [10, 1, 0, i].into(),
            _ => format!("fd01::{i}").parse().expect("an address"),
        }
    };
    let node = |i: u8| Some(if i == 0 { "here" } else { "there" }.into());
    let endpoint = |i| Endpoint { node: node(i), ..Endpoint::ready(address(i)) };
    let port = &service.ports[0];
    EndpointSlice {
        name: ObjectName::new("default", format!("{}-{family}", service.name.name)),
        service: service.name.name.clone(),
        ports: vec![EndpointPort { name: "".into(), protocol: port.protocol, port: 8080 }],
        endpoints: (0..endpoints).map(endpoint).collect(),
    }
}

/// Compiles every policy with every way to pick an endpoint, with and without source ranges.
fn every_class() -> Ruleset {
    let mut state = State::new(Node { name: "here".into(), ..Node::default() });
    let mut n = 0;
    for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
        for (affinity_timeout, load_balancing) in [
            (None, LoadBalancing::Random),
            (None, LoadBalancing::SourceHash),
            (Some(61), LoadBalancing::Random),
            (Some(10_800), LoadBalancing::SourceHash),
        ] {
            for ranges in [&[][..], &["203.0.113.0/24", "2001:db8::/32"]] {
                n += 1;
                let source_ranges = ranges.iter().map(|range| range.parse().expect("a range")).collect();
                let service = Service {
                    external_policy: policy,
                    affinity_timeout,
                    load_balancing,
                    source_ranges,
                    ..service(n)
                };
                for slice in [4, 6].map(|family| slice(&service, family, n % 4)) {
                    state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
                }
                state.set_service(&service.name.clone(), Some(Arc::new(service)));
            }
        }
    }
    let networks = ["10.1.0.0/16", "fd01::/64"].map(|network| network.parse().expect("a network"));
    let pods = PodDetector::Networks(networks.into());
    let mut compiler = Compiler::new(Config { pods, ..Config::default() });
    compiler.load(&mut state, &Ruleset::default());
    compiler.ruleset()
}

#[test]
fn nft_lists_every_class_as_it_would_itself_have_written_it() {
    let mut kernel = kernel();
    let ruleset = every_class();
    for prefix in ["external-", "node-port-local-", "restricted-local-", "direct-", "affinity-remember-65"] {
        for table in ruleset.tables.values() {
            assert!(table.chains.keys().any(|name| name.starts_with(prefix)), "no chain {prefix}");
        }
    }
    let table = Config::default().table;
    commit(&mut kernel, &portolan_rules::ruleset::diff::diff(&table, &Ruleset::default(), &ruleset));
    expect(&mut kernel, &ruleset);
    list();
    let ruleset = loadable(ruleset);
    let listed = nft(&["list", "table", "ip", "portolan"], None);
    nft(&["flush", "ruleset"], None);
    nft(&["-f", "-"], Some(&listed));
    assert_eq!(nft(&["list", "table", "ip", "portolan"], None), listed);
    expect(&mut kernel, &ruleset);
}
