//! `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`), the file that kubeadm writes for kube-proxy.
//!
//! Flags and file meet here: both become a [`KubeProxyConfiguration`], which [`settings`] checks and
//! turns into settings. So a flag and its field cannot mean different things.

pub mod arguments;
mod changes;
mod defaults;
mod duration;
mod fields;
mod flags;
mod ineffective;
mod read;
mod schema;
pub mod settings;
mod watch;
mod write;

pub use self::{
    changes::{FieldChange, changes, fields_set},
    defaults::{DEFAULT_MASQUERADE_BIT, DEFAULT_OOM_SCORE_ADJ},
    duration::{Duration, DurationError},
    fields::Origin,
    read::{API_VERSION, KIND, ReadError, read},
    schema::{
        ClientConnection, Conntrack, DetectLocal, IpTables, Ipvs, KubeProxyConfiguration, Logging,
        LoggingOptions, NfTables, OutputOptions, Text, VModuleItem, Winkernel,
    },
    watch::{Edit, watch},
};
