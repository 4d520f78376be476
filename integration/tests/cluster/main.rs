//! The real binary against the test API server, with real packets where it matters.
//!
//! Every test builds its own lab, so the tests run in parallel. They need root, and report an error without it.

mod anywhere;
mod connectivity_test;
mod crash;
mod credentials;
mod health;
mod lists;
mod node;
mod outage;
mod proxy;
mod refusals;
mod scale;
mod scene;
mod startup_taint;
mod sync;
mod watches;
