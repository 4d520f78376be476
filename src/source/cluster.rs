//! Services and endpoints from the Kubernetes API.
//!
//! One task per kind of object lists and watches the objects (`reflector`), keeps them as the model (`store`), and
//! reports deltas. Another task passes the deltas on to the agent (`delivery`), and another writes Events (`events`).
//! All tasks run on a separate thread and wait only for the network.

mod access;
mod action;
mod connect;
mod credentials;
mod decode;
mod delivery;
mod error;
mod events;
mod exec_plugin;
mod gunzip;
mod inspect;
mod kind;
mod list;
mod machine;
mod models;
mod objects;
mod options;
mod outages;
mod proxy;
mod reflector;
mod request;
mod split;
mod startup_taint;
mod store;
#[cfg(test)]
mod tests;
mod timing;
mod warn_once;
mod watch;

pub use self::{
    access::Cluster,
    connect::Error,
    inspect::{Inspection, RIGHTS, Right},
    list::Listed,
    objects::Objects,
    options::Options,
    timing::Timing,
};
