//! What others do to our tables is undone: the real binary, real kernels' tables, in namespaces of their own. And
//! what else may go wrong around the reconciler: a Service that the kernel refuses, no file descriptors, a full
//! disk.
//!
//! These tests need root and say so without it.

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
