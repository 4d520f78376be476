//! The commands that explain, with their state from the API server, the running agent and the kernel: the real binary in
//! the lab.

mod agent;
mod cluster;
#[path = "../end_to_end/scene.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod manifests;
#[path = "../cluster/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of the cluster source, which use all of it")]
mod scene;
mod shared;
