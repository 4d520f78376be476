//! The facts of a Service.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    frontends::{FrontendKey, FrontendKind},
    model::{ObjectName, Protocol},
    ruleset::Family,
};

/// An aspect of a Service, whose value is a [`Fact`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aspect {
    /// It has this port.
    Port(Port),
    /// A field of the Service, or a property of one of its frontends.
    Setting {
        /// The frontend; `None` for the whole Service.
        of: Option<FrontendKey>,
        /// The field.
        field: &'static str,
    },
    /// It answers here.
    Frontend {
        /// Address or node port.
        key: FrontendKey,
        /// Its kind, if known.
        kind: Option<FrontendKind>,
        /// The port that it belongs to, if known.
        port: Option<Port>,
    },
    /// It has this endpoint.
    Endpoint {
        /// What leads to it.
        of: Parent,
        /// Its address and port.
        at: SocketAddr,
    },
}

/// A port of a Service in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// Number.
    pub number: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Family.
    pub family: Family,
}

/// What leads to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parent {
    /// All frontends of a port.
    Port(Port),
    /// One frontend.
    Frontend(FrontendKey),
}

/// The value of an aspect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fact {
    /// In words; may be empty.
    pub value: String,
    /// Whether an endpoint takes new connections.
    pub is_used: bool,
}

impl Fact {
    pub(super) fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), is_used: true }
    }
}

/// All facts of a Service.
pub type Facts = BTreeMap<Aspect, Fact>;

/// The facts of Services by name.
pub type Services = BTreeMap<ObjectName, Facts>;
