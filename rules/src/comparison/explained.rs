//! Facts from an explanation.

use super::fact::{Aspect, Fact, Facts, Parent, Port, Services};
use crate::{
    explanation::{ExplainedEndpoint, ExplainedService},
    model::Service,
};

/// The facts of explained Services.
pub fn explained(services: &[ExplainedService]) -> Services {
    services.iter().map(|explained| (explained.service.name.clone(), facts(explained))).collect()
}

fn facts(explained: &ExplainedService) -> Facts {
    let mut facts = Facts::new();
    for (field, value) in settings(&explained.service) {
        facts.insert(Aspect::Setting { of: None, field }, Fact::new(value));
    }
    for of_port in &explained.ports {
        let port =
            Port { number: of_port.port.port, protocol: of_port.port.protocol, family: of_port.family };
        facts.insert(Aspect::Port(port), Fact::new(&*of_port.port.name));
        for frontend in &of_port.frontends {
            let aspect = Aspect::Frontend { key: frontend.key, kind: Some(frontend.kind), port: Some(port) };
            let value = frontend.left_out.as_ref().map(|reason| format!("not served: {reason}"));
            let is_used = value.is_none();
            facts.insert(aspect, Fact { value: value.unwrap_or_default(), is_used });
        }
        for endpoint in &of_port.endpoints {
            let aspect = Aspect::Endpoint { of: Parent::Port(port), at: endpoint.at };
            facts.insert(aspect, Fact { value: state(endpoint), is_used: endpoint.cluster.is_none() });
        }
    }
    facts
}

/// The fields that affect the Service as a whole.
fn settings(service: &Service) -> Vec<(&'static str, String)> {
    let affinity = match service.affinity_timeout {
        Some(seconds) => format!("ClientIP ({seconds} s)"),
        None => "None".to_owned(),
    };
    let mut ranges: Vec<String> = service.source_ranges.iter().map(ToString::to_string).collect();
    ranges.sort();
    let ranges = if ranges.is_empty() { "every source".to_owned() } else { ranges.join(", ") };
    let health = service.health_check_node_port.map_or_else(|| "none".to_owned(), |port| port.to_string());
    vec![
        ("externalTrafficPolicy", service.external_policy.to_string()),
        ("internalTrafficPolicy", service.internal_policy.to_string()),
        ("sessionAffinity", affinity),
        ("loadBalancerSourceRanges", ranges),
        ("load balancing", service.load_balancing.to_string()),
        ("healthCheckNodePort", health),
    ]
}

/// The state of an endpoint, in words.
fn state(endpoint: &ExplainedEndpoint) -> String {
    let mut parts = Vec::new();
    match (&endpoint.cluster, &endpoint.local) {
        (None, None) => {}
        (Some(cluster), Some(local)) if cluster == local => parts.push(cluster.to_string()),
        (cluster, local) => {
            parts.extend(cluster.as_ref().map(ToString::to_string));
            parts.extend(local.as_ref().map(|reason| format!("under policy Local {reason}")));
        }
    }
    if endpoint.weight != 1 {
        parts.push(format!("weight {}", endpoint.weight));
    }
    parts.extend(endpoint.node.as_ref().map(|node| format!("on {node}")));
    parts.join(", ")
}
