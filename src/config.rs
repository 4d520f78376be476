//! Flags and `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`), the file that kubeadm writes for
//! kube-proxy, to settings.
//!
//! [`ROWS`] lists every option. Flags and file both become [`Options`], which [`settings`] checks, so that a flag and
//! its field cannot mean different things.

mod arguments;
mod changes;
mod document;
mod duration;
mod error;
mod file;
mod options;
mod origin;
pub mod settings;
mod value;
mod watch;

pub(crate) use self::value::boolean;
pub use self::{
    arguments::{RulesFlags, RunFlags},
    changes::{FieldChange, changes},
    duration::Duration,
    error::{Error, Place},
    file::{API_VERSION, KIND},
    options::{Effect, Options, ROWS, Row, Scope},
    origin::Origin,
    value::{Kind, Quantity, Vmodule},
    watch::{Edit, watch},
};
