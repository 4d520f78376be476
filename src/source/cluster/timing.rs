//! How long to wait for what.

use std::time::Duration;

/// Times and sizes of the cluster source; tests choose shorter ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Longest wait for the answer to a request, and for the next part of a list.
    pub response: Duration,
    /// Longest silence before the end of initial events; then everything is listed in pages, for once.
    pub initial_events: Duration,
    /// How long a list may take as a whole.
    pub list: Duration,
    /// How long a watch is asked to last at most (`timeoutSeconds`); each lasts at least half as long.
    pub watch: Duration,
    /// How much longer it may last before it counts as stale.
    pub watch_margin: Duration,
    /// Longest silence of a watch, less up to an eighth. API servers send a bookmark about once a minute; two such
    /// silences and a list must fit into three minutes.
    pub idle: Duration,
    /// After a error, wait about this long before trying again, and twice as long after every further one.
    pub first_retry: Duration,
    /// But never longer than this.
    pub last_retry: Duration,
    /// A watch that lasted this long was good: the next error is a first one. Shorter than what load balancers in
    /// front of API servers let a connection be idle (20 s in kubeadm's example), as that is how most quiet watches
    /// end there.
    pub good_after: Duration,
    /// After Services and slices are listed, how long to wait for the `ServiceCIDRs`, and for a Node that the server
    /// refuses to show.
    pub patience: Duration,
    /// How long to wait for the Node if nobody says no: rules that an earlier run left know its zone and its
    /// addresses. kube-proxy waits as long.
    pub node: Duration,
    /// How long to wait at the start for the Node to say which networks its pods have, where that is needed.
    pub pod_networks: Duration,
    /// How often to try again what this server does not serve, or does not allow, and what is not needed.
    pub optional_retry: Duration,
    /// How often everything is listed anew, though nobody knows of an event that was lost.
    pub relist: Duration,
    /// How often a series of Events is written down at most.
    pub series: Duration,
    /// Objects of a page of a list (`limit`).
    pub page: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            response: Duration::from_mins(1),
            initial_events: Duration::from_secs(10),
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
            relist: Duration::from_hours(6),
            series: Duration::from_mins(1),
            page: 500,
        }
    }
}
