//! New connections by Service and endpoint, for commands.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use portolan_rules::{
    model::ObjectName,
    ruleset::{Element, Family},
};
use serde::{Deserialize, Serialize};

use super::query::Wanted;
use crate::kernel::nftables::{Count, Counts};

/// The counted connections, and when they were read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// How often the kernel's counters have been read: identifies this reading.
    pub reading: u64,
    /// How many seconds ago the kernel's counters were read.
    pub age_seconds: f64,
    /// Why the counters cannot be read at the moment; `None` if they can.
    pub problem: Option<String>,
    /// The new connections; entries of zero are left out.
    pub totals: Vec<Total>,
}

impl Counted {
    /// Keeps only the totals of these Services.
    #[must_use]
    pub fn only(mut self, wanted: &Wanted) -> Self {
        match wanted {
            Wanted::All | Wanted::Frontend(_) => {}
            Wanted::Namespace(namespace) => self
                .totals
                .retain(|total| total.service().split_once('/').is_some_and(|(its, _)| *its == **namespace)),
            Wanted::Service(name) => {
                let name = commented(name.to_string());
                self.totals.retain(|total| total.service() == name);
            }
        }
        self
    }
}

/// The new connections to an endpoint of a port of a Service, or those refused or dropped because the port has none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Total {
    /// `namespace/name:port`, as in the comments of elements.
    pub owner: String,
    /// The endpoint; `None` for connections that were refused or dropped because there was no endpoint.
    pub endpoint: Option<SocketAddr>,
    /// New connections.
    pub connections: u64,
}

impl Total {
    /// The Service, as `namespace/name`.
    pub fn service(&self) -> &str {
        self.owner.split(':').next().unwrap_or_default()
    }
}

/// The new connections of all endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    endpoints: HashMap<(String, SocketAddr), u64>,
    ports: HashMap<(String, Family), u64>,
    services: HashMap<String, u64>,
    refused: HashMap<String, u64>,
    /// The number of the reading and when it was made, if known.
    reading: Option<(u64, Instant)>,
}

impl From<Counted> for Totals {
    fn from(counted: Counted) -> Self {
        let age = Duration::try_from_secs_f64(counted.age_seconds).ok();
        let at = age.and_then(|age| Instant::now().checked_sub(age));
        Self { reading: at.map(|at| (counted.reading, at)), ..Self::new(counted.totals) }
    }
}

impl Totals {
    /// Adds up the totals of this list.
    pub fn new(list: impl IntoIterator<Item = Total>) -> Self {
        let mut totals = Self::default();
        for total in list {
            let service = total.service().to_owned();
            let Total { owner, endpoint, connections } = total;
            let Some(endpoint) = endpoint else {
                *totals.refused.entry(service).or_default() += connections;
                continue;
            };
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

    /// The time between an earlier reading of the kernel's counters and this one; `None` if both are the same reading.
    pub fn since(&self, earlier: &Self) -> Option<Duration> {
        let ((before, then), (now, at)) = (earlier.reading?, self.reading?);
        (before != now).then(|| at.saturating_duration_since(then)).filter(|time| !time.is_zero())
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.refused.is_empty()
    }

    /// New connections of a Service.
    pub fn of_service(&self, service: &ObjectName) -> u64 {
        self.services.get(&commented(service.to_string())).copied().unwrap_or_default()
    }

    /// Connections to a Service that were refused or dropped because it had no endpoints.
    pub fn refused(&self, service: &ObjectName) -> u64 {
        self.refused.get(&commented(service.to_string())).copied().unwrap_or_default()
    }

    /// New connections of a port of a Service in one family.
    pub fn of_port(&self, service: &ObjectName, port: &str, family: Family) -> u64 {
        self.ports.get(&(owner(service, port), family)).copied().unwrap_or_default()
    }

    /// New connections of an endpoint of a port of a Service.
    pub fn of_endpoint(&self, service: &ObjectName, port: &str, endpoint: SocketAddr) -> u64 {
        self.endpoints.get(&(owner(service, port), endpoint)).copied().unwrap_or_default()
    }
}

fn owner(service: &ObjectName, port: &str) -> String {
    commented(if port.is_empty() { service.to_string() } else { format!("{service}:{port}") })
}

/// The text as it appears in the comment of an element, whose length is limited.
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
            endpoint: endpoint.parse().ok(),
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
            total("shop/web:http", "none", 6),
        ]);
        let web = ObjectName::new("shop", "web");
        assert_eq!((totals.of_service(&web), totals.refused(&web)), (12, 6));
        assert_eq!(totals.of_port(&web, "http", Family::Ip), 3);
        assert_eq!(totals.of_endpoint(&web, "http", "[fd00::1]:80".parse().unwrap()), 4);
        assert_eq!(totals.of_endpoint(&web, "http", "10.0.0.9:80".parse().unwrap()), 0);
        assert_eq!(totals.of_service(&ObjectName::new("shop", "web2")), 100);
        assert_eq!(totals.of_endpoint(&long, "http", "10.0.0.1:80".parse().unwrap()), 7);
    }
}
