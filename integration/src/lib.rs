//! Network-namespace lab for Portolan: a small cluster on one machine, and the means to test it.
//!
//! [`Lab`] joins two nodes, their pods and an outside client by virtual cables, dual stack. Servers in
//! it answer with their name and the client's address, [`Client`]s report the outcome of a connection, [`Agent`]
//! runs the real `portolan` binary on a node, and [`Manifests`] are the files it reads. Nothing
//! outside these namespaces is touched, and they vanish with the process that created them, however it
//! ends. The lab needs root.
#![forbid(unsafe_code)]
// Commands and manifests are short and written once; `write!` would add an error that cannot happen.
#![allow(clippy::format_push_string)]

mod agent;
mod api_server;
mod around;
mod commits;
mod connectivity_server;
mod figures;
mod http;
pub mod kube_proxy;
mod lab;
mod losses;
mod machine;
mod manifest;
pub mod markdown;
mod memory_group;
mod nft;
pub mod plan;
mod real_server;
mod recorded;
mod stale_flows;
pub mod synthetic;
pub mod trace;
mod traffic;
mod wanted;
mod wire;
mod written;
mod yaml;

pub use self::{
    agent::{Agent, binary, cpu_time},
    api_server::{
        ApiServer, Backup, EventFaults, Fault, Feed, Reply, Request, Resource, Rule,
        THREAD as API_SERVER_THREAD, Verb, Wrong,
    },
    around::{Around, Between},
    commits::{Commits, Moment},
    connectivity_server::ConnectivityServer,
    figures::Figures,
    http::{Response, get, request, send},
    lab::{
        CLUSTER_CIDR, Dual, Family, Lab, LabError, Namespace, Node, Pod, enter_fresh_namespace, eventually,
    },
    losses::Losses,
    machine::machine,
    manifest::{Manifests, Service, Slice, numbered, pod_object},
    memory_group::MemoryGroup,
    nft::{Notifications, nft},
    real_server::RealServer,
    recorded::Recording,
    stale_flows::remove_stale,
    traffic::{Answer, Bursts, Client, Connection, Failure, Fate, Flows, Protocol, Responder, Server, Tally},
    wanted::{Counting, Expecting},
    wire::Wire,
    written::{by_controller, by_helm},
};
