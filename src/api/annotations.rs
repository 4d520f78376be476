//! Annotations: Portolan's own, for settings without a field in the API, and those that controllers write about an
//! object.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use portolan_rules::model::LoadBalancing;
use serde::{
    Deserialize,
    de::{IgnoredAny, MapAccess},
};

use super::{
    address::parse_ip,
    context::{Context, ObjectId},
    field::{Labels, Parse, quote},
};

/// How an endpoint is chosen: `random` (the default) or `source-hash`. On a Service.
pub const LOAD_BALANCING: &str = "portolan.io/load-balancing";

/// Shares of new connections: `10.0.0.1=3,10.0.0.2=0,*=1`. On an EndpointSlice. Addresses that are not named
/// have the weight of `*`, 1 by default; weight 0 takes no new connections.
pub const WEIGHTS: &str = "portolan.io/weights";

/// When the last change of a slice began: an RFC 3339 time, written by the endpoint controller. On an EndpointSlice.
pub const LAST_CHANGE_TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The lock of a leader election. An `Endpoints` object with this annotation is not mirrored.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Largest weight.
pub const MAX_WEIGHT: u16 = 100;

/// Annotations whose names begin with `portolan.io/`, [`LAST_CHANGE_TRIGGER`], and a leader election's lock; all others are
/// skipped while reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Labels);

/// No annotations.
pub(super) static NO_ANNOTATIONS: Annotations = Annotations(Labels(Vec::new()));

/// The name of an annotation; it is copied only if it is escaped.
#[derive(Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Parse<'de> for Annotations {
    const EXPECTED: &'static str = "a mapping";

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut own = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            if name.starts_with("portolan.io/") || name == LAST_CHANGE_TRIGGER || name == LEADER {
                own.push((name.into(), map.next_value()?));
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Some(Self(Labels(own))))
    }
}

impl Annotations {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// Whether [`LEADER`] is present.
    pub(super) fn is_leader_lock(&self) -> bool {
        self.get(LEADER).is_some()
    }

    /// The time in [`LAST_CHANGE_TRIGGER`], if it is valid.
    pub(super) fn last_change_trigger(&self) -> Option<jiff::Timestamp> {
        self.get(LAST_CHANGE_TRIGGER)?.parse().ok()
    }

    /// The value of [`LOAD_BALANCING`]. An unknown value is ignored, with a warning.
    pub(super) fn load_balancing(&self, object: &ObjectId, context: &mut Context) -> LoadBalancing {
        let Some(name) = self.get(LOAD_BALANCING) else { return LoadBalancing::default() };
        LoadBalancing::from_name(name).unwrap_or_else(|| {
            let known = LoadBalancing::ALL.map(LoadBalancing::name).join(", ");
            let message = format_args!("{} is not one of {known}; ignored", quote(name));
            context.warn(object, format_args!("metadata.annotations[{LOAD_BALANCING}]"), message);
            LoadBalancing::default()
        })
    }

    /// The value of [`WEIGHTS`]. An invalid entry is ignored, with a warning.
    pub(super) fn weights(&self, object: &ObjectId, context: &mut Context) -> Weights {
        let mut weights = Weights::default();
        let text = self.get(WEIGHTS).unwrap_or_default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let parsed = entry.split_once('=').and_then(|(address, weight)| {
                let weight = weight.trim().parse().ok().filter(|weight| *weight <= MAX_WEIGHT)?;
                match address.trim() {
                    "*" => Some((None, weight)),
                    address => Some((Some(parse_ip(address)?), weight)),
                }
            });
            match parsed {
                Some((address, weight)) => _ = weights.0.insert(address, weight),
                None => context.warn(
                    object,
                    format_args!("metadata.annotations[{WEIGHTS}]"),
                    format_args!(
                        "{} is not ADDRESS=WEIGHT with a weight up to {MAX_WEIGHT}; ignored",
                        quote(entry)
                    ),
                ),
            }
        }
        weights
    }
}

/// Weights of the endpoints of a slice by their addresses. The weight of all other endpoints has the key `None`.
#[derive(Debug, Default)]
pub(super) struct Weights(BTreeMap<Option<IpAddr>, u16>);

impl Weights {
    /// The weight of an endpoint.
    pub fn of(&self, address: IpAddr) -> u16 {
        let given = self.0.get(&Some(address)).or_else(|| self.0.get(&None));
        given.copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use portolan_rules::model::ObjectName;

    use super::*;
    use crate::api::{context::Kind, field::Field};

    fn annotations(json: &str) -> Annotations {
        serde_json::from_str::<Field<Annotations>>(json).unwrap().get().unwrap().clone()
    }

    fn warnings(read: impl FnOnce(&ObjectId, &mut Context)) -> Vec<String> {
        let object = ObjectId { kind: Kind::Service, name: ObjectName::new("default", "web") };
        let mut context = Context::default();
        read(&object, &mut context);
        context.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn weights_are_by_address_or_for_all_others() {
        let annotations =
            annotations(r#"{"a/b": "x", "portolan.io/weights": "10.0.0.1=3, fd00::1=0,*=2,10.0.0.2=101,x"}"#);
        let seen = warnings(|object, context| {
            let weights = annotations.weights(object, context);
            let of = |address: &str| weights.of(address.parse().unwrap());
            assert_eq!((of("10.0.0.1"), of("fd00::1"), of("10.0.0.2"), of("10.9.9.9")), (3, 0, 2, 2));
        });
        assert_eq!(
            seen,
            [
                r#"Service default/web: metadata.annotations[portolan.io/weights]: "10.0.0.2=101" is not ADDRESS=WEIGHT with a weight up to 100; ignored"#,
                r#"Service default/web: metadata.annotations[portolan.io/weights]: "x" is not ADDRESS=WEIGHT with a weight up to 100; ignored"#,
            ]
        );
    }

    #[test]
    fn an_unknown_way_to_balance_is_named_and_ignored() {
        let balancing = |json: &str| {
            let annotations = annotations(json);
            let mut balancing = LoadBalancing::Random;
            let seen = warnings(|object, context| balancing = annotations.load_balancing(object, context));
            (balancing, seen.len())
        };
        assert_eq!(balancing("{}"), (LoadBalancing::Random, 0));
        assert_eq!(
            balancing(r#"{"portolan.io/load-balancing": "source-hash"}"#),
            (LoadBalancing::SourceHash, 0)
        );
        assert_eq!(balancing(r#"{"portolan.io/load-balancing": "maglev"}"#), (LoadBalancing::Random, 1));
    }

    #[test]
    fn the_time_of_a_change_is_read() {
        let trigger = |time: &str| {
            let json =
                format!(r#"{{"endpoints.kubernetes.io/last-change-trigger-time": "{time}", "x": "y"}}"#);
            annotations(&json).last_change_trigger().map(|time| time.to_string())
        };
        assert_eq!(trigger("2026-01-02T03:04:05Z").as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(trigger("now"), None);
        assert_eq!(annotations("{}").last_change_trigger(), None);
    }
}
