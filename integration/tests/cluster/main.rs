//! The real binary against the test API server, with real packets where it matters.
//!
//! Every test builds its own lab, so they run side by side. They need root and say so without it.

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
