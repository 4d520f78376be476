//! The commands that explain, with state from the API server, the running agent and the kernel: the real binary in the
//! lab.

mod agent;
mod cluster;
mod connections;
mod fuzz;
#[path = "../end_to_end/scene.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod manifests;
mod running;
#[path = "../cluster/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of the cluster source, which use all of it")]
mod scene;
mod screen;
mod shared;
mod top;
