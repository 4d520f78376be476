//! `metadata`, which all objects have.

use std::borrow::Cow;

use portolan_rules::model::ObjectName;

use super::{
    annotations::{Annotations, NO_ANNOTATIONS},
    context::{Context, FieldError, Kind, ObjectId, Result, read, read_or_default, required},
    field::{Field, Labels, objects, quote},
};

portolan_rules::named! {
    /// Labels that have a meaning here. When Services, slices and Nodes are read from protobuf, all others are skipped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Label {
        /// Gives a Service to another proxy (KEP-2447).
        ProxyName = "service.kubernetes.io/service-proxy-name",
        /// Keeps a slice of a headless Service away from proxies.
        Headless = "service.kubernetes.io/headless",
        /// The Service of a slice.
        Service = "kubernetes.io/service-name",
        /// The zone of a Node.
        Zone = "topology.kubernetes.io/zone",
        /// Keeps `Endpoints` from being mirrored to slices.
        SkipMirror = "endpointslice.kubernetes.io/skip-mirror",
    }
}

objects! {
    /// `metadata` of any object (`ObjectMeta`).
    pub struct Metadata {
        /// `name`.
        pub name: Field<Box<str>>,
        /// `namespace`; `default` if absent.
        pub namespace: Field<Box<str>>,
        /// `labels`.
        pub labels: Field<Labels>,
        /// `annotations`, only those that matter here.
        pub annotations: Field<Annotations>,
        /// `creationTimestamp`, RFC 3339.
        pub creation_timestamp: Field<Box<str>>,
        /// `deletionTimestamp`, RFC 3339; if set, the object is being deleted.
        pub deletion_timestamp: Field<Box<str>>,
        /// `resourceVersion`: which state of the object this is; absent in manifests.
        pub resource_version: Field<Box<str>>,
    }
}

/// The length and the characters of a name (`k8s.io/apimachinery` validation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// Up to 63 lower-case letters, digits and dashes.
    Label,
    /// Labels separated by dots, up to 253 characters in all.
    Subdomain,
}

impl NameRule {
    /// Checks a name as the API server does.
    ///
    /// # Errors
    /// The reason.
    pub fn check(self, name: &str) -> Result<(), String> {
        let limit = if self == Self::Label { 63 } else { 253 };
        if name.is_empty() {
            return Err("must not be empty".to_owned());
        }
        if name.len() > limit {
            return Err(format!("{} is longer than {limit} characters", quote(name)));
        }
        let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(is_inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_name = match self {
            Self::Label => is_label(name),
            Self::Subdomain => name.split('.').all(is_label),
        };
        if is_name {
            return Ok(());
        }
        let dots = if self == Self::Label { "" } else { ", and single dots" };
        Err(format!("{} is not a name: lower-case letters, digits, inner dashes{dots}", quote(name)))
    }
}

/// Namespace of objects that do not give a namespace.
const DEFAULT_NAMESPACE: &str = "default";

impl Metadata {
    /// Reads the metadata of an object, and checks the labels.
    pub(super) fn read(field: &Field<Self>) -> Result<Cow<'_, Self>> {
        let metadata = read_or_default(field, "metadata")?;
        metadata.check_labels()?;
        Ok(metadata)
    }

    /// Kind, namespace and name of the object.
    ///
    /// # Errors
    /// `metadata.name` is missing, or `metadata.name` or `metadata.namespace` is invalid.
    pub fn identify(&self, kind: Kind, context: &mut Context) -> Result<ObjectId> {
        let name = required(&self.name, "metadata.name")?;
        let rule = if kind == Kind::Service { NameRule::Label } else { NameRule::Subdomain };
        rule.check(name).map_err(|message| FieldError::new("metadata.name", message))?;
        let mut namespace = "";
        if kind.is_namespaced() {
            let given = read(&self.namespace, "metadata.namespace")?.map_or("", |text| text);
            namespace = if given.is_empty() { DEFAULT_NAMESPACE } else { given };
            NameRule::Label
                .check(namespace)
                .map_err(|message| FieldError::new("metadata.namespace", message))?;
        }
        Ok(ObjectId { kind, name: ObjectName::new(context.intern(namespace), &**name) })
    }

    /// The value of a label; invalid labels are reported by [`Self::check_labels`].
    pub(super) fn label(&self, label: Label) -> Option<&str> {
        self.labels.get()?.get(label.name())
    }

    /// Checks that labels are a mapping of text to text.
    pub(super) fn check_labels(&self) -> Result<()> {
        let Some(labels) = read(&self.labels, "metadata.labels")? else { return Ok(()) };
        for (name, value) in &labels.0 {
            read(value, format_args!("metadata.labels[{name}]"))?;
        }
        Ok(())
    }

    /// Whether the object was read from a cluster: an API server has given it a version.
    pub(crate) fn is_from_a_cluster(&self) -> bool {
        self.resource_version.get().is_some_and(|version| !version.is_empty())
    }

    /// The annotations that matter here; none if they are not a mapping.
    pub(super) fn annotations(&self) -> &Annotations {
        self.annotations.get().unwrap_or(&NO_ANNOTATIONS)
    }

    /// When the last change of a slice began, if the endpoint controller has written a valid time.
    pub fn last_change_trigger(&self) -> Option<jiff::Timestamp> {
        self.annotations().last_change_trigger()
    }

    /// `creationTimestamp` in seconds since the epoch. An invalid time is ignored with a warning.
    pub(super) fn created(&self, object: &ObjectId, context: &mut Context) -> Option<i64> {
        const FIELD: &str = "metadata.creationTimestamp";
        let parse = |text: &str| {
            let time = text.parse::<jiff::Timestamp>();
            time.map_err(|_| format!("{} is not an RFC 3339 time", quote(text)))
        };
        let time = self.creation_timestamp.read().and_then(|text| text.map(|text| parse(text)).transpose());
        let time = time.unwrap_or_else(|message| {
            context.warn(object, FIELD, format_args!("{message}, ignored"));
            None
        });
        time.map(jiff::Timestamp::as_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_exist_are_refused() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        let subdomain = [longest.as_str(); 3].join(".");
        for (rule, name, accepted) in [
            (NameRule::Label, "web", true),
            (NameRule::Label, "2web-x", true),
            (NameRule::Label, longest.as_str(), true),
            (NameRule::Label, too_long.as_str(), false),
            (NameRule::Label, "", false),
            (NameRule::Label, "Web", false),
            (NameRule::Label, "-web", false),
            (NameRule::Label, "web-", false),
            (NameRule::Label, "web.x", false),
            (NameRule::Label, "web\n", false),
            (NameRule::Label, "wéb", false),
            (NameRule::Subdomain, "web.x", true),
            (NameRule::Subdomain, "web..x", false),
            (NameRule::Subdomain, subdomain.as_str(), true),
        ] {
            assert_eq!(rule.check(name).is_ok(), accepted, "{name:?}");
        }
    }
}
