//! What a change costs in the kernel, counted in messages and generations: numbers that are the same on every
//! machine. How long it all takes is the benchmarks' to say.

mod changes;
mod ports;
mod starts;
mod synthetic;
