//! The health of the proxy at one moment.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::Kind;

/// Data of the API server is stale after this long without news. Real servers send a bookmark about every minute and
/// end a watch within ten minutes.
pub const FRESH: Duration = Duration::from_mins(10);

/// How Go writes a time that was never set: kube-proxy reports it before its first sync.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// The kinds that must be fresh for a proxy to be ready. The kernel is programmed correctly even if other kinds are
/// stale.
const NEEDED: [Kind; 2] = [Kind::Service, Kind::EndpointSlice];
/// The names of the families in kube-proxy's answer.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// The health of the proxy at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The moment.
    pub now: Timestamp,
    /// When the kernel was last made equal to the input.
    pub synced: Option<Timestamp>,
    /// How long the oldest change that is not in the kernel has waited.
    pub waiting: Option<Duration>,
    /// Whether no change has waited for twice the sync period or longer.
    pub healthy: bool,
    /// Whether load balancers may send traffic to this node (KEP-3836).
    pub node_eligible: bool,
    /// Whether another process keeps changing the tables, so that the repair has to wait.
    pub contested: bool,
    /// Number of Services that are left out because the kernel refuses them. The proxy is ready nevertheless: a user
    /// who may create Services must not be able to take nodes out of service.
    pub quarantined: usize,
    /// For each kind of which news is expected, how long ago the last news came; `None` if none has come yet.
    pub ages: Vec<(Kind, Option<Duration>)>,
}

impl Report {
    /// Whether load balancers should send traffic to this node: the status code of `/healthz`.
    pub fn admits_traffic(&self) -> bool {
        self.healthy && self.node_eligible
    }

    /// Whether the node serves the cluster's Services: the kernel was programmed, no change has waited too long, no
    /// other process keeps changing the tables, and the input is fresh.
    pub fn is_ready(&self) -> bool {
        self.unready_reasons().is_empty()
    }

    /// Why the proxy is not ready, one sentence per reason; empty if it is ready.
    pub fn unready_reasons(&self) -> Vec<String> {
        let never = self.synced.is_none().then_some("the kernel has not been programmed yet");
        let waiting = self.waiting.filter(|_| !self.healthy);
        let waiting = waiting
            .map(|waiting| format!("a change has waited for {} s to reach the kernel", waiting.as_secs()));
        let needed = self.ages.iter().filter(|(kind, _)| NEEDED.contains(kind));
        let stale = needed.filter_map(|(kind, age)| match age {
            None => Some(format!("objects of kind {kind} have not been listed yet")),
            Some(age) if *age > FRESH => {
                Some(format!("no news of objects of kind {kind} for {} s", age.as_secs()))
            }
            Some(_) => None,
        });
        let contested = "another process keeps changing the tables, and the repair waits";
        let contested = self.contested.then(|| contested.to_owned());
        never.map(str::to_owned).into_iter().chain(waiting).chain(contested).chain(stale).collect()
    }

    /// The body of `/livez`, in kube-proxy's format. Both families go to the kernel in one transaction, so they never
    /// differ.
    pub fn livez(&self) -> Value {
        let synced = self.synced.map_or_else(|| NEVER.to_owned(), |at| at.to_string());
        let status = FAMILIES
            .map(|family| (family.to_owned(), json!({ "lastUpdated": synced, "healthy": self.healthy })));
        // Like kube-proxy: a healthy proxy was last updated now.
        let updated = if self.healthy { self.now.to_string() } else { synced };
        json!({
            "lastUpdated": updated,
            "currentTime": self.now.to_string(),
            "healthy": self.healthy,
            "status": Map::from_iter(status),
        })
    }

    /// The body of `/healthz`: that of `/livez`, and whether the node is eligible.
    pub fn healthz(&self) -> Value {
        let mut body = self.livez();
        if let Some(body) = body.as_object_mut() {
            body.insert("nodeEligible".to_owned(), self.node_eligible.into());
        }
        body
    }

    /// The body of `/readyz`.
    pub fn readyz(&self) -> Value {
        let ages = self
            .ages
            .iter()
            .map(|(kind, age)| (kind.to_string(), age.map_or(Value::Null, |age| json!(age.as_secs()))));
        let reasons = self.unready_reasons();
        json!({
            "ready": reasons.is_empty(),
            "reasons": reasons,
            "quarantinedServices": self.quarantined,
            "currentTime": self.now.to_string(),
            "lastUpdated": self.synced.map(|at| at.to_string()),
            "secondsSinceNews": ages.collect::<Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let at = |second| Timestamp::from_second(second).unwrap();
        Report {
            now: at(1_800_000_100),
            synced: Some(at(1_800_000_000)),
            waiting: None,
            healthy: true,
            node_eligible: true,
            contested: false,
            quarantined: 0,
            ages: Vec::new(),
        }
    }

    #[test]
    fn a_healthy_proxy_answers_as_kube_proxy_does() {
        let expected = json!({
            "lastUpdated": "2027-01-15T08:01:40Z",
            "currentTime": "2027-01-15T08:01:40Z",
            "healthy": true,
            "nodeEligible": true,
            "status": {
                "IPv4": {"lastUpdated": "2027-01-15T08:00:00Z", "healthy": true},
                "IPv6": {"lastUpdated": "2027-01-15T08:00:00Z", "healthy": true},
            },
        });
        assert_eq!(report().healthz(), expected);
        let livez = report().livez();
        assert_eq!(livez.get("nodeEligible"), None, "livez does not look at the node");
        assert_eq!(livez["status"], expected["status"]);
    }

    #[test]
    fn an_unhealthy_proxy_shows_when_it_last_was_in_sync() {
        let waiting = Some(Duration::from_secs(61));
        let unhealthy = Report { healthy: false, waiting, ..report() };
        let body = unhealthy.healthz();
        assert_eq!(body["lastUpdated"], "2027-01-15T08:00:00Z");
        assert_eq!(body["healthy"], false);
        assert_eq!(body["status"]["IPv6"]["healthy"], false);
        let never = Report { synced: None, ..unhealthy }.livez();
        assert_eq!(never["lastUpdated"], "0001-01-01T00:00:00Z");
    }

    #[test]
    fn readyz_lists_the_reasons() {
        let ages = vec![(Kind::Service, Some(FRESH * 2)), (Kind::EndpointSlice, None)];
        let body = Report { synced: None, ages, quarantined: 3, ..report() }.readyz();
        assert_eq!(body["quarantinedServices"], 3);
        assert_eq!(body["ready"], false);
        let reasons = json!([
            "the kernel has not been programmed yet",
            "no news of objects of kind Service for 1200 s",
            "objects of kind EndpointSlice have not been listed yet",
        ]);
        assert_eq!(body["reasons"], reasons);
        assert_eq!(body["secondsSinceNews"], json!({"Service": 1200, "EndpointSlice": null}));
    }
}
