//! `portolan::kernel` against a real kernel: needs root. Each test has its own network namespace.

mod commit;
mod compiled;
mod counters;
mod foreign;
mod isolation;
mod missed;
mod namespace;
mod parts;
mod probe;
mod refusal;
mod restart;
mod roundtrip;
mod tables;
