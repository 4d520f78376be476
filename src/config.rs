//! Turns flags and `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`), the file that kubeadm writes for
//! kube-proxy, into settings.
//!
//! [`options`] lists every option. Flags and file both become [`Options`], which [`settings`] checks, so that a flag
//! and its field cannot mean different things.

mod document;
mod error;
mod file;
mod flags;
mod go_duration;
mod kind;
pub mod options;
pub mod settings;
mod values;

pub use self::{
    error::{Error, Origin, Place},
    flags::{RulesFlags, RunFlags, Words},
    kind::Kind,
    options::{Effect, Row, Scope, rows},
    values::Options,
};
pub(crate) use self::{go_duration::parse as parse_duration, kind::boolean};
