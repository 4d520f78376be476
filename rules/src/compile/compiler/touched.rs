//! Changes since the last update that may have left stale flows.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    compile::port::{CompiledPort, Frontend},
    frontends::FrontendKey,
    incremental::flows::Moved,
    model::{Protocol, Service},
    plane::Class,
    selection::Serving,
};

/// Changes since the last update that may have left stale flows.
#[derive(Clone, Debug, Default)]
pub(super) struct TouchedFlows {
    /// The addresses that answer node ports now.
    pub(super) node_addresses: BTreeSet<IpAddr>,
    /// Frontends that were compiled again or changed owner, as they were before; `None` if they did not exist.
    pub(super) frontends: HashMap<FrontendKey, Option<Former>>,
    /// The changes of TCP and SCTP frontends that were made the short way.
    pub(super) moved: Vec<(FrontendKey, Moved)>,
    /// Node ports at addresses that began or ceased to answer node ports.
    pub(super) node_ports: BTreeSet<SocketAddr>,
}

/// A frontend before the update.
#[derive(Clone, Debug)]
pub(super) struct Former {
    pub(super) service: Arc<Service>,
    pub(super) port: Arc<str>,
    /// For a UDP frontend: the endpoints that served it, and all its classes.
    pub(super) serving: Serving,
    pub(super) classes: SmallVec<[Class; 5]>,
}

impl TouchedFlows {
    /// Forgets what changed.
    pub(super) fn clear(&mut self) {
        self.frontends.clear();
        self.moved.clear();
        self.node_ports.clear();
    }

    /// Notes a frontend as it is before it changes. Only the first note of an update counts.
    pub(super) fn note(&mut self, port: &CompiledPort, frontend: &Frontend, existed: bool) {
        let former = || Former {
            service: port.service.clone(),
            port: port.name.clone(),
            serving: port.serving.clone(),
            classes: match port.protocol {
                Protocol::Udp => port.classes(frontend),
                Protocol::Tcp | Protocol::Sctp => SmallVec::new(),
            },
        };
        self.frontends.entry(frontend.key).or_insert_with(|| existed.then(former));
    }

    /// Notes that only the endpoints that slices list for a port changed.
    pub(super) fn note_moved(&mut self, port: &CompiledPort, moved: &Moved) {
        let owned = port.frontends.iter().filter(|frontend| frontend.owned);
        self.moved.extend(owned.map(|frontend| (frontend.key, moved.clone())));
    }
}
