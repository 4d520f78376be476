//! Types that conversions share: names of objects, problems with objects, interned text.

use std::{borrow::Cow, fmt, sync::Arc};

use foldhash::HashSet;
use portolan_rules::model::ObjectName;

use super::field::{Field, Parse};

portolan_rules::named! {
    /// The kinds of objects that matter to a service proxy.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Kind {
        /// `v1` `Service`.
        Service = "Service",
        /// `discovery.k8s.io/v1` `EndpointSlice`.
        EndpointSlice = "EndpointSlice",
        /// `v1` `Pod`.
        Pod = "Pod",
        /// `v1` `Node`.
        Node = "Node",
        /// `networking.k8s.io/v1` `ServiceCIDR`.
        ServiceCidr = "ServiceCIDR",
        /// `v1` `Endpoints`.
        Endpoints = "Endpoints",
        /// `apps/v1` `Deployment`.
        Deployment = "Deployment",
        /// `apps/v1` `StatefulSet`.
        StatefulSet = "StatefulSet",
        /// `apps/v1` `DaemonSet`.
        DaemonSet = "DaemonSet",
        /// `apps/v1` `ReplicaSet`.
        ReplicaSet = "ReplicaSet",
        /// `v1` `ReplicationController`.
        ReplicationController = "ReplicationController",
        /// `batch/v1` `Job`.
        Job = "Job",
        /// `batch/v1` `CronJob`.
        CronJob = "CronJob",
    }
}

impl Kind {
    /// The group and version that have this kind.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::Service | Self::Pod | Self::Node | Self::Endpoints | Self::ReplicationController => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::ServiceCidr => "networking.k8s.io/v1",
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicaSet => "apps/v1",
            Self::Job | Self::CronJob => "batch/v1",
        }
    }

    /// Whether objects of this kind have a template of Pods.
    pub const fn is_workload(self) -> bool {
        matches!(
            self,
            Self::Deployment
                | Self::StatefulSet
                | Self::DaemonSet
                | Self::ReplicaSet
                | Self::ReplicationController
                | Self::Job
                | Self::CronJob
        )
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Node | Self::ServiceCidr)
    }
}

/// The identity of an object: kind, namespace (empty if the kind has none) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Kind.
    pub kind: Kind,
    /// Namespace and name.
    pub name: ObjectName,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind.is_namespaced() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}", self.kind, self.name.name)
        }
    }
}

/// A problem with an object, displayed as `Service default/web: spec.clusterIP: why`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{object}: {error}")]
pub struct Problem {
    /// The object.
    pub object: ObjectId,
    /// The field, and what is wrong with it.
    pub error: FieldError,
}

/// An invalid field, and why it is invalid; one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// Path of the field, such as `spec.ports[0].port`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// A value read from an object, or the first field that makes the object unusable.
pub(super) type Result<T, E = FieldError> = std::result::Result<T, E>;

impl FieldError {
    /// An error of a path and a message.
    pub fn new(field: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { field: field.to_string(), message: message.to_string() }
    }
}

/// Reads a field; a value of a wrong type makes the object unusable.
pub(super) fn read<'a, 'de, T: Parse<'de>>(
    field: &'a Field<T>,
    path: impl fmt::Display,
) -> Result<Option<&'a T>> {
    field.read().map_err(|message| FieldError::new(path, message))
}

/// Reads a field that must be there.
pub(crate) fn required<'a, 'de, T: Parse<'de>>(
    field: &'a Field<T>,
    path: impl fmt::Display,
) -> Result<&'a T> {
    read(field, &path)?.ok_or_else(|| FieldError::new(&path, "is missing"))
}

/// Reads a field; if it is absent, returns the default of its type.
pub(super) fn read_or_default<'a, 'de, T: Parse<'de> + Clone + Default>(
    field: &'a Field<T>,
    path: impl fmt::Display,
) -> Result<Cow<'a, T>> {
    Ok(read(field, path)?.map_or_else(Cow::default, Cow::Borrowed))
}

/// Reads the elements of a list, none if it is absent; a value of a wrong type makes the object unusable.
pub(super) fn read_list<'a, 'de, T: Parse<'de>>(
    field: &'a Field<Vec<Field<T>>>,
    path: impl fmt::Display,
) -> Result<&'a [Field<T>]> {
    Ok(read(field, path)?.map_or(&[], Vec::as_slice))
}

/// Reads an element of a list, which must not be null.
pub(super) fn read_element<'a, 'de, T: Parse<'de>>(
    field: &'a Field<T>,
    path: impl fmt::Display,
) -> Result<&'a T> {
    let nothing = || FieldError::new(&path, format_args!("expected {}, found nothing", T::EXPECTED));
    read(field, &path)?.ok_or_else(nothing)
}

/// The data that conversions need besides the object, and their warnings.
#[derive(Debug, Default)]
pub struct Context {
    /// The value of the label `service.kubernetes.io/service-proxy-name` of this proxy's Services. With `None`, they
    /// are the Services that lack the label. All others belong to another proxy.
    pub own_proxy_name: Option<Box<str>>,
    /// Whether a Service without a `ClusterIP` is converted as well: it will get a stand-in.
    pub has_stand_ins: bool,
    /// The parts of objects that were ignored, with the reasons. The caller drains the list.
    pub warnings: Vec<Problem>,
    names: HashSet<Arc<str>>,
    prune_at: usize,
}

impl Context {
    /// A new context for another thread.
    pub(crate) fn fork(&self) -> Self {
        Self {
            own_proxy_name: self.own_proxy_name.clone(),
            has_stand_ins: self.has_stand_ins,
            ..Self::default()
        }
    }

    /// The shared copy of a text that many objects repeat: namespaces, nodes, zones, port names.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        if self.names.len() >= self.prune_at.max(1024) {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.prune_at = self.names.len() * 2;
        }
        let new: Arc<str> = text.into();
        self.names.insert(Arc::clone(&new));
        new
    }

    /// Adds a warning: part of an object is ignored.
    pub(super) fn warn(&mut self, object: &ObjectId, field: impl fmt::Display, message: impl fmt::Display) {
        self.warnings.push(Problem { object: object.clone(), error: FieldError::new(field, message) });
    }

    /// Whether a Service with this value of `service.kubernetes.io/service-proxy-name`, or without the label, belongs
    /// to another proxy.
    pub(super) fn is_foreign_service(&self, proxy_name: Option<&str>) -> bool {
        proxy_name != self.own_proxy_name.as_deref()
    }

    /// The same for a slice. The endpoint slice controller copies the Service's labels; other writers of slices may
    /// not, and then the Service alone decides.
    pub(super) fn is_foreign_slice(&self, proxy_name: Option<&str>) -> bool {
        proxy_name.is_some_and(|name| self.own_proxy_name.as_deref() != Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interned_text_is_shared_and_forgotten_when_unused() {
        let mut context = Context::default();
        let kept = context.intern("node-1");
        assert!(Arc::ptr_eq(&kept, &context.intern("node-1")));
        for i in 0..10_000 {
            context.intern(&format!("gone-{i}"));
        }
        assert!(context.names.len() <= 1024, "{} names kept", context.names.len());
        assert!(Arc::ptr_eq(&kept, &context.intern("node-1")));
    }
}
