//! One ServicePort in one family: its frontends, their classes, and the endpoints at their slots.

use std::{collections::BTreeMap, sync::Arc};

use smallvec::SmallVec;

use crate::{
    frontends::{FrontendKey, FrontendKind},
    model::{LoadBalancing, ObjectName, Protocol, Service},
    placement::{Placed, SessionAffinity},
    plane::{Class, Keys, LOCAL_SLOTS, Pick, Picks, RangeList, SetName, attribute, endpoint_value},
    ruleset::{ClassId, Concat, Element, Family},
    selection::{
        EndpointScope, Serving, Topology,
        load_balancer_source_ranges::{self, AddressRange},
    },
};

/// A compiled ServicePort.
#[derive(Clone, Debug)]
pub struct CompiledPort {
    pub family: Family,
    pub name: Arc<str>,
    pub protocol: Protocol,
    /// The Service.
    pub service: Arc<Service>,
    pub frontends: SmallVec<[Frontend; 1]>,
    /// The endpoints of policy Cluster at their slots.
    pub cluster: Placed,
    /// The endpoints of policy Local at their slots; none if no frontend uses them.
    pub local: Placed,
    /// The topology by which `cluster` was chosen, if one endpoint can change without examining the others.
    pub plain: Option<Topology>,
    /// How new clients are spread over the slots.
    pub load_balancing: LoadBalancing,
    /// Its endpoint ids, with session affinity.
    pub affinity: Option<Box<SessionAffinity>>,
    /// For a UDP port, every endpoint that its flows may stay with; empty for other protocols.
    pub serving: Serving,
    /// Sources that may use the load balancer's addresses.
    pub sources: Arc<[AddressRange]>,
    /// The list that holds these sources.
    pub range_list: RangeList,
}

/// A frontend of a port.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub key: FrontendKey,
    pub kind: FrontendKind,
    /// Whether this Service answers it, rather than another Service that claims it too.
    pub owned: bool,
    /// The class in the class map.
    pub class: Class,
    /// The class for pods and this node, under policy Local.
    pub direct: Option<Class>,
    /// Which endpoints it leads to.
    pub scope: EndpointScope,
}

impl Frontend {
    /// A frontend that is not owned yet. `restricted` is the list of source ranges, if the Service has any; only load
    /// balancer addresses are restricted to it.
    pub fn new(
        key: FrontendKey,
        kind: FrontendKind,
        service: &Service,
        picks: Picks,
        restricted: Option<RangeList>,
    ) -> Self {
        let scope = EndpointScope::of(kind, service);
        let (class, direct) = Class::of_frontend(kind, scope, picks);
        let class = match restricted {
            Some(list) if load_balancer_source_ranges::guard(kind) => class.restricted(list),
            _ => class,
        };
        Self { key, kind, owned: false, class, direct, scope }
    }
}

impl CompiledPort {
    /// All classes that one of its frontends needs.
    pub fn classes(&self, frontend: &Frontend) -> SmallVec<[Class; 5]> {
        let mut classes = SmallVec::new();
        classes.push(frontend.class);
        classes.extend(frontend.class.admitted());
        classes.extend(frontend.direct);
        if let Some(affinity) = &self.affinity {
            classes.push(Class::Remember(affinity.timeout));
        }
        classes.extend(self.draws(frontend).into_iter().map(|(_, class)| class));
        classes
    }

    /// Whether one of its frontends certainly has the same classes and [attributes](Self::attributes) as in `before`,
    /// decided without making them. This is nearly always so when endpoints change.
    pub fn is_same_but_slots(&self, frontend: &Frontend, before: &Self, former: &Frontend) -> bool {
        let has_affinity = self.affinity.is_some() || before.affinity.is_some();
        !has_affinity
            && (frontend.key, frontend.class, frontend.direct) == (former.key, former.class, former.direct)
            && self.name == before.name
            && self.sources == before.sources
            && self.range_list == before.range_list
    }

    /// The draws of a frontend with session affinity: each an attribute, and the class that is its value.
    fn draws(&self, frontend: &Frontend) -> Vec<(u32, Class)> {
        if self.affinity.is_none() {
            return Vec::new();
        }
        let draw = |(first, endpoints): (u32, &Placed)| {
            let pick = Pick::of_slots(endpoints.len(), self.load_balancing)?;
            Some(match first {
                LOCAL_SLOTS => (attribute::LOCAL_DRAW, Class::DrawLocal(pick)),
                _ => (attribute::DRAW, Class::Draw(pick)),
            })
        };
        self.chosen(frontend).into_iter().filter_map(draw).collect()
    }

    /// The elements of a frontend that are not at slots. With session affinity these are all of its elements, since a
    /// slot then holds an endpoint id.
    pub fn attributes(&self, frontend: &Frontend) -> SmallVec<[(SetName, Concat, Element); 1]> {
        let key = frontend.key.concat();
        let class = |class: Class| Element::value(Concat::new(&[class.id().into()]));
        let mut elements = SmallVec::new();
        elements.push((
            Keys::of(&frontend.key).classes(),
            key.clone(),
            class(frontend.class).with_comment(&comment(&self.service.name, &self.name)),
        ));
        let attributes = Keys::of(&frontend.key).attributes();
        if let Some(direct) = frontend.direct {
            elements.push((attributes, frontend.key.slot(attribute::DIRECT), class(direct)));
        }
        if let Some(list) = frontend.class.range_list() {
            for (first, last) in self.sources.iter() {
                let end = Some(Box::new(key.with((*last).into())));
                let element = Element { end, ..Element::member() };
                elements.push((list.set(), key.with((*first).into()), element));
            }
        }
        let Some(affinity) = &self.affinity else { return elements };
        let number = |number: u32| Element::value(Concat::new(&[ClassId(number).into()]));
        let mut attribute = |at: u32, value| elements.push((attributes, frontend.key.slot(at), value));
        attribute(attribute::PORT_NUMBER, number(affinity.port_id()));
        for (at, draw) in self.draws(frontend) {
            attribute(at, class(draw));
        }
        let mut by_id = BTreeMap::new();
        for (first, endpoints) in self.chosen(frontend) {
            for (slot, endpoint) in (first | attribute::SLOTS..).zip(endpoints.iter()) {
                attribute(slot, number(affinity.endpoint_id(&endpoint)));
                by_id.insert(first | affinity.endpoint_id(&endpoint), endpoint);
            }
        }
        elements.extend(by_id.into_iter().map(|(number, endpoint)| {
            let element = Element::value(endpoint_value(endpoint));
            (Keys::of(&frontend.key).endpoints(), frontend.key.slot(number), element)
        }));
        elements
    }

    /// The endpoints at the slots of a frontend, by the number of the first slot; none with session affinity.
    pub fn slots(&self, frontend: &Frontend) -> [(u32, &Placed); 2] {
        if self.affinity.is_some() {
            [(0, &Placed::NONE), (LOCAL_SLOTS, &Placed::NONE)]
        } else {
            self.chosen(frontend)
        }
    }

    /// The endpoints that a frontend leads to, by the number of the first slot.
    fn chosen(&self, frontend: &Frontend) -> [(u32, &Placed); 2] {
        match frontend.scope {
            EndpointScope::Cluster => [(0, &self.cluster), (LOCAL_SLOTS, &Placed::NONE)],
            EndpointScope::Local => [(0, &self.local), (LOCAL_SLOTS, &Placed::NONE)],
            EndpointScope::LocalFromOutside => [(0, &self.cluster), (LOCAL_SLOTS, &self.local)],
        }
    }

    /// How many slots a frontend has.
    pub fn slot_count(&self, frontend: &Frontend) -> usize {
        self.chosen(frontend).iter().map(|(_, endpoints)| endpoints.len()).sum()
    }

    /// Calls `count` with the number of elements that one of its frontends has in each set; the calls for a set add up.
    pub fn counts(&self, frontend: &Frontend, count: &mut impl FnMut(SetName, usize)) {
        if self.affinity.is_some() || frontend.class.admitted().is_some() {
            for (set, ..) in self.attributes(frontend) {
                count(set, 1);
            }
        } else {
            // The case of nearly all ports: counted without making the elements.
            count(Keys::of(&frontend.key).classes(), 1);
            count(Keys::of(&frontend.key).attributes(), usize::from(frontend.direct.is_some()));
        }
        for (_, endpoints) in self.slots(frontend) {
            count(Keys::of(&frontend.key).endpoints(), endpoints.len());
        }
    }

    /// Calls `emit` for each element of one of its frontends.
    pub fn elements(&self, frontend: &Frontend, emit: &mut impl FnMut(SetName, Concat, Element)) {
        for (set, key, element) in self.attributes(frontend) {
            emit(set, key, element);
        }
        self.slot_elements(frontend, emit);
    }

    /// Calls `emit` for each endpoint at a slot of one of its frontends.
    pub fn slot_elements(&self, frontend: &Frontend, emit: &mut impl FnMut(SetName, Concat, Element)) {
        let key = frontend.key.concat();
        for (first, endpoints) in self.slots(frontend) {
            for (slot, endpoint) in (first..).zip(endpoints.iter()) {
                let element = Element::value(endpoint_value(endpoint));
                emit(Keys::of(&frontend.key).endpoints(), key.with(ClassId(slot).into()), element);
            }
        }
    }
}

/// The length of a [`comment`] in bytes.
pub fn comment_length(service: &ObjectName, port: &str) -> usize {
    let colon = usize::from(!port.is_empty());
    service.namespace.len() + 1 + service.name.len() + colon + port.len()
}

/// `namespace/name:port`, the comment of a port's elements. It is not stored, since there is one for every port.
fn comment(service: &ObjectName, port: &str) -> Arc<str> {
    let (namespace, name) = (&*service.namespace, &*service.name);
    if port.is_empty() {
        [namespace, "/", name].concat().into()
    } else {
        [namespace, "/", name, ":", port].concat().into()
    }
}
