//! Timeouts and intervals.

use std::time::Duration;

/// Timeouts, intervals and sizes of the cluster source; tests choose shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Timeout of the answer to a request, and of the next part of a list.
    pub response: Duration,
    /// Timeout of a whole list.
    pub list: Duration,
    /// The longest `timeoutSeconds` of a watch; each lasts at least half as long.
    pub watch: Duration,
    /// How much longer a watch may last before it counts as dead.
    pub watch_margin: Duration,
    /// Longest silence of a watch, less a sixteenth to an eighth. API servers send a bookmark about once a minute; two such
    /// silences and a list must fit into three minutes.
    pub idle: Duration,
    /// Back-off after the first failure, less up to a half; twice as long after every further one.
    pub first_retry: Duration,
    /// Longest back-off.
    pub last_retry: Duration,
    /// After a watch that lasted this long, the next failure counts as the first. Shorter than the idle timeout of load
    /// balancers in front of API servers (20 s in kubeadm's example), which ends most quiet watches there.
    pub good_after: Duration,
    /// After Services and slices are listed, how long to wait for the `ServiceCIDRs`, and for a Node that the server
    /// refuses to show.
    pub patience: Duration,
    /// After Services and slices are listed, how long to wait for the Node, whose zone and addresses the rules of an earlier
    /// run contain. kube-proxy waits as long.
    pub node: Duration,
    /// How long to wait at the start for the Node's `spec.podCIDRs`, if they are needed.
    pub pod_networks: Duration,
    /// How often to try an optional kind again that the server does not serve or permit.
    pub optional_retry: Duration,
    /// How often everything is listed again without a cause, less up to a half; `None` for never.
    pub relist: Option<Duration>,
    /// Minimum time between two updates of an Event series.
    pub series: Duration,
    /// Objects of a page of a list (`limit`).
    pub page: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            response: Duration::from_mins(1),
            list: Duration::from_mins(5),
            watch: Duration::from_mins(10),
            watch_margin: Duration::from_secs(10),
            idle: Duration::from_secs(80),
            first_retry: Duration::from_millis(800),
            last_retry: Duration::from_secs(30),
            good_after: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            node: Duration::from_secs(30),
            pod_networks: Duration::from_mins(5),
            optional_retry: Duration::from_mins(5),
            relist: None,
            series: Duration::from_mins(1),
            page: 500,
        }
    }
}
