//! The test API server itself, asked over plain HTTP as its documentation says it answers.

mod client;
mod faults;
mod lists;
mod recorded;
mod watches;
