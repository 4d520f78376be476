//! Changes of our tables by others are undone: the real binary and the real kernel's tables, in separate namespaces.
//! Also other faults around the reconciler: a Service that the kernel refuses, no file descriptors, a full disk.
//!
//! These tests need root, and report an error without it.

mod back_off;
mod changes;
mod crash;
mod faults;
mod isolation;
mod neighbour;
mod owner;
mod period;
mod proportional;
mod scale;
mod scene;
mod traffic;
