//! New connections by Service and endpoint, for commands.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use portolan_rules::{
    model::ObjectName,
    ruleset::{Element, Family},
};
use serde::{Deserialize, Serialize};

use crate::kernel::nftables::{Count, Counts};

/// One endpoint of a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Total {
    /// `namespace/name:port`, as in the comments of elements.
    pub owner: String,
    /// The endpoint.
    pub endpoint: SocketAddr,
    /// New connections that were sent to it.
    pub connections: u64,
}

/// The new connections of all endpoints.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    endpoints: HashMap<(String, SocketAddr), u64>,
    ports: HashMap<(String, Family), u64>,
    services: HashMap<String, u64>,
}

impl Totals {
    /// Those of this list.
    pub fn new(list: impl IntoIterator<Item = Total>) -> Self {
        let mut totals = Self::default();
        for Total { owner, endpoint, connections } in list {
            let service = owner.split(':').next().unwrap_or_default().to_owned();
            *totals.services.entry(service).or_default() += connections;
            *totals.ports.entry((owner.clone(), Family::of(endpoint.ip()))).or_default() += connections;
            *totals.endpoints.entry((owner, endpoint)).or_default() += connections;
        }
        totals
    }

    /// What the kernel's elements have counted since they were added.
    pub fn of_kernel(counts: &Counts) -> Option<Self> {
        let (Counts::All(counts) | Counts::Some(counts)) = counts else { return None };
        let total = |count: &Count| Total {
            owner: count.owner.to_string(),
            endpoint: count.endpoint,
            connections: count.connections,
        };
        Some(Self::new(counts.iter().map(total)))
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// Those of a Service.
    pub fn of_service(&self, service: &ObjectName) -> u64 {
        self.services.get(&commented(service.to_string())).copied().unwrap_or_default()
    }

    /// Those of a port of a Service in one family.
    pub fn of_port(&self, service: &ObjectName, port: &str, family: Family) -> u64 {
        self.ports.get(&(owner(service, port), family)).copied().unwrap_or_default()
    }

    /// Those of an endpoint of a port of a Service.
    pub fn of_endpoint(&self, service: &ObjectName, port: &str, endpoint: SocketAddr) -> u64 {
        self.endpoints.get(&(owner(service, port), endpoint)).copied().unwrap_or_default()
    }
}

fn owner(service: &ObjectName, port: &str) -> String {
    commented(if port.is_empty() { service.to_string() } else { format!("{service}:{port}") })
}

/// The text as it is in the comment of an element, which has a longest length.
fn commented(text: String) -> String {
    let text: Arc<str> = text.into();
    let element = Element::member().with_comment(&text);
    element.comment.as_deref().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_add_up_by_port_and_service() {
        let total = |owner: &str, endpoint: &str, connections| Total {
            owner: owner.to_owned(),
            endpoint: endpoint.parse().unwrap(),
            connections,
        };
        let long = ObjectName::new("n".repeat(63), "s".repeat(63));
        let cut = commented(format!("{long}:http"));
        assert!(cut.len() <= 128);
        let totals = Totals::new([
            total("shop/web:http", "10.0.0.1:80", 3),
            total("shop/web:http", "[fd00::1]:80", 4),
            total("shop/web:admin", "10.0.0.1:81", 5),
            total("shop/web2", "10.0.0.1:80", 100),
            total(&cut, "10.0.0.1:80", 7),
        ]);
        let web = ObjectName::new("shop", "web");
        assert_eq!(totals.of_service(&web), 12);
        assert_eq!(totals.of_port(&web, "http", Family::Ip), 3);
        assert_eq!(totals.of_endpoint(&web, "http", "[fd00::1]:80".parse().unwrap()), 4);
        assert_eq!(totals.of_endpoint(&web, "http", "10.0.0.9:80".parse().unwrap()), 0);
        assert_eq!(totals.of_service(&ObjectName::new("shop", "web2")), 100);
        assert_eq!(totals.of_endpoint(&long, "http", "10.0.0.1:80".parse().unwrap()), 7);
    }
}
