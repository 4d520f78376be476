//! The cost of a change in the kernel, counted in messages and generations, which are the same on every machine. The
//! benchmarks measure time.

mod changes;
mod ports;
mod starts;
mod synthetic;
