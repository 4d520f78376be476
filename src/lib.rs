//! Portolan: a Kubernetes service proxy for nodes, on nftables.
//!
//! The modules, in the order in which data passes through them:
//!
//! - [`cli`]: the command line and its commands, one file per command.
//! - [`config`]: flags and `KubeProxyConfiguration`, checked, as settings.
//! - [`source`]: all sources of state: the API server, manifests, the host.
//! - [`api`]: converts objects of the API to the model that `portolan_rules` compiles.
//! - [`agent`]: the reconciler, which keeps the kernel equal to the state.
//! - [`localhost`]: node ports on loopback addresses, which the agent serves itself.
//! - [`kernel`]: nftables, connection tracking and sysctls.
//! - [`observe`]: health, metrics, logging and Events, and the servers that show them.
//!
//! Several of these use small modules: `watch` notices changes of files, `retry` computes waits between attempts,
//! `tracked` sends changes of Services to other threads, and `text` formats texts for people.

pub mod agent;
pub mod api;
pub mod cli;
pub mod config;
pub mod kernel;
pub mod localhost;
pub mod observe;
mod retry;
pub mod source;
mod text;
mod tracked;
mod watch;
