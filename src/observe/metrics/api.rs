//! Requests to the API server, under the names that every Kubernetes client uses
//! (`k8s.io/component-base/metrics/prometheus/restclient`). kube-proxy's dashboards and alerts use these names, too.

use std::time::Duration;

use super::register::metrics;

/// What client-go reports in place of a status code when there was no response.
const NO_ANSWER: &str = "<error>";

metrics! {
    /// The metrics; clones share them.
    #[derive(Clone, Debug)]
    ApiRequests: "rest_client_" {
        total: IntCounterVec("code", "method", "host") = "requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.";
        duration: HistogramVec("verb", "host") in buckets = "request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.";
    }
}

fn buckets() -> Vec<f64> {
    vec![0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]
}

impl ApiRequests {
    /// Counts a request: its status code, or `None` if no response came, and the time until the response began.
    pub fn count(&self, method: &str, host: &str, code: Option<u16>, took: Duration) {
        let code = code.map_or_else(|| NO_ANSWER.to_owned(), |code| code.to_string());
        self.total.with_label_values(&[&*code, method, host]).inc();
        self.duration.with_label_values(&[method, host]).observe(took.as_secs_f64());
    }
}
