//! The test API server itself: its answers over plain HTTP are those that its documentation describes.

mod client;
mod faults;
mod lists;
mod recorded;
mod watches;
