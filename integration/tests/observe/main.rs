//! What an agent says about itself: health, readiness, the health checks of Services, metrics, status pages. The
//! real binary in the lab, asked as a load balancer, a kubelet or Prometheus would.

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
