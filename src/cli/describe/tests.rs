use std::sync::Arc;

use portolan_rules::{
    compile::Compiler,
    explanation::Compiled,
    model::{
        Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort, ServiceType,
    },
    plane::Config,
    ruleset::Ruleset,
    state::State,
};
use proptest::prelude::*;

use super::*;
use crate::cli::wrap::WIDTH;

/// Returns what `describe` prints about a Service with these names, whose last endpoint is not ready.
fn described(namespace: &str, name: &str, port: &str, nodes: &[String]) -> String {
    let service = ObjectName::new(namespace, name);
    let mut state = State::new(Node { name: "here".into(), ..Node::default() });
    let port =
        ServicePort { name: port.into(), protocol: Protocol::Sctp, port: 65_535, node_port: Some(32_767) };
    let slice = EndpointSlice {
        name: ObjectName::new(namespace, format!("{name}-1")),
        service: service.name.clone(),
        ports: vec![EndpointPort { name: port.name.clone(), protocol: port.protocol, port: 65_535 }],
        endpoints: nodes
            .iter()
            .zip(1..)
            .map(|(node, last)| Endpoint {
                node: Some(node.as_str().into()),
                ready: usize::from(last) < nodes.len(),
                ..Endpoint::ready([0xfd00, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, last].into())
            })
            .collect(),
    };
    let address = [0xfd00, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777].into();
    let object = Service {
        service_type: ServiceType::LoadBalancer,
        load_balancer_ips: vec![[0xfd00, 0x8888, 0x2222, 0x3333, 0x4444, 0x5555, 0x6666, 0x7777].into()],
        external_policy: TrafficPolicy::Local,
        affinity_timeout: Some(10_800),
        ..Service::cluster_ip(service.clone(), vec![address], vec![port])
    };
    state.set_service(&service, Some(Arc::new(object)));
    state.set_slice(&slice.name.clone(), Some(Arc::new(slice)));
    let compiled = Compiled::new(Compiler::new(Config::default()), state, &Ruleset::default());
    let view = compiled.view();
    let explained = view.service(&service).unwrap();
    wrap(&text(&view, &explained, "from the agent on node here (process 1), in sync since 3 s"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_name_makes_a_line_too_long(
        namespace in "[a-z0-9-]{1,63}",
        name in "[a-z0-9-]{1,63}",
        port in "[a-z0-9-]{0,15}",
        nodes in prop::collection::vec("[a-z0-9.-]{1,253}", 0..5),
    ) {
        let text = described(&namespace, &name, &port, &nodes);
        let plain = anstream::adapter::strip_str(&text).to_string();
        for line in plain.lines() {
            prop_assert!(line.chars().count() <= WIDTH, "{line:?}");
        }
        let bare: String = plain.split_whitespace().collect();
        let service = format!("{namespace}/{name}");
        prop_assert!(bare.contains(&service), "{plain}");
        prop_assert!(nodes.iter().all(|node| bare.contains(node.as_str())), "{plain}");
    }
}
