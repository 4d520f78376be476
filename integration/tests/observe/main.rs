//! What an agent reports: health, readiness, the health checks of Services, metrics, status pages. The real binary in
//! the lab gets the requests of a load balancer, a kubelet and Prometheus.

mod browser;
mod connections;
mod health;
mod health_ports;
mod metrics;
mod owner;
mod page;
mod pages;
#[path = "../end_to_end/scene.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod scene;
