//! The tracker: the elements that are programmed, and the changes that an update makes to them.
//!
//! Within one update an element may be removed by one Service and added by another, or change twice; only the
//! difference between before and after counts.

use std::net::{IpAddr, SocketAddr};

use foldhash::{HashMap, HashSet};

use crate::{
    frontends::FrontendKey,
    plane::{Class, Keys, PerSet, SetName, endpoint_value},
    ruleset::{Concat, Element, Family},
};

/// Counts and references of everything that is programmed.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// Number of frontends that use a class.
    classes: HashMap<(Family, Class), u32>,
    /// Number of Services that need an address in a shared set.
    shared: HashMap<(SetName, IpAddr), u32>,
    /// Number of elements of each set.
    counts: PerSet<u32>,
    /// The changes since the last [`Tracker::take_changes`]; `None` until changes are tracked.
    changes: Option<ElementChanges>,
}

/// The family, set and key of an element.
pub type ElementKey = (Family, SetName, Concat);

/// Changes: each element before and after, and classes that came into use or fell out of use.
#[derive(Clone, Debug, Default)]
pub struct ElementChanges {
    elements: HashMap<ElementKey, (Option<Element>, Option<Element>)>,
    classes: HashMap<(Family, Class), bool>,
}

/// The changes of one update, in a fixed order.
#[derive(Debug, Default)]
pub struct NetChanges {
    /// Elements that are added, removed or changed: before and after.
    pub elements: Vec<(ElementKey, Option<Element>, Option<Element>)>,
    /// Classes that are used for the first time.
    pub new_classes: Vec<(Family, Class)>,
    /// Classes that are no longer used.
    pub old_classes: Vec<(Family, Class)>,
}

impl Tracker {
    /// Tracks changes from now on.
    pub fn track(&mut self) {
        self.changes.get_or_insert_default();
    }

    /// Whether changes are tracked.
    pub fn is_tracking(&self) -> bool {
        self.changes.is_some()
    }

    /// Notes that this number of elements is added, while changes are not tracked.
    pub fn count_added(&mut self, family: Family, set: SetName, elements: usize) {
        self.counts[(family, set)] += elements as u32;
    }

    /// Notes that an element is added.
    pub fn add(&mut self, family: Family, set: SetName, key: Concat, element: Element) {
        self.counts[(family, set)] += 1;
        if let Some(changes) = &mut self.changes {
            changes.elements.entry((family, set, key)).or_default().1 = Some(element);
        }
    }

    /// Notes that an element is removed.
    pub fn remove(&mut self, family: Family, set: SetName, key: Concat, element: Element) {
        let count = &mut self.counts[(family, set)];
        *count = count.saturating_sub(1);
        if let Some(changes) = &mut self.changes {
            changes.elements.entry((family, set, key)).or_insert_with(|| (Some(element), None)).1 = None;
        }
    }

    /// Notes that the endpoint at a slot of a frontend changed.
    pub fn replace_slot(
        &mut self,
        frontend: &FrontendKey,
        slot: u32,
        before: Option<SocketAddr>,
        after: Option<SocketAddr>,
    ) {
        let (family, map) = (frontend.family(), Keys::of(frontend).endpoints());
        let element = |endpoint| Element::value(endpoint_value(endpoint));
        if let Some(endpoint) = before {
            self.remove(family, map, frontend.slot(slot), element(endpoint));
        }
        if let Some(endpoint) = after {
            self.add(family, map, frontend.slot(slot), element(endpoint));
        }
    }

    /// Notes that one more frontend uses a class.
    pub fn retain_class(&mut self, family: Family, class: Class) {
        if Class::CONSTANT.contains(&class) {
            return;
        }
        let references = self.classes.entry((family, class)).or_default();
        *references += 1;
        if *references == 1
            && let Some(changes) = &mut self.changes
        {
            changes.classes.entry((family, class)).or_insert(false);
        }
    }

    /// Notes that one frontend fewer uses a class.
    pub fn release_class(&mut self, family: Family, class: Class) {
        let Some(references) = self.classes.get_mut(&(family, class)) else { return };
        *references -= 1;
        if *references == 0 {
            self.classes.remove(&(family, class));
            if let Some(changes) = &mut self.changes {
                changes.classes.entry((family, class)).or_insert(true);
            }
        }
    }

    /// Notes that one more Service needs an address in a shared set.
    pub fn retain_address(&mut self, set: SetName, address: IpAddr) {
        let references = self.shared.entry((set, address)).or_default();
        *references += 1;
        if *references == 1 {
            self.add(Family::of(address), set, shared_key(set, address), Element::member());
        }
    }

    /// Notes that one Service fewer needs an address in a shared set.
    pub fn release_address(&mut self, set: SetName, address: IpAddr) {
        let Some(references) = self.shared.get_mut(&(set, address)) else { return };
        *references -= 1;
        if *references == 0 {
            self.shared.remove(&(set, address));
            self.remove(Family::of(address), set, shared_key(set, address), Element::member());
        }
    }

    /// Number of elements of a set.
    pub fn count(&self, family: Family, set: SetName) -> u32 {
        match set {
            SetName::Classes | SetName::DirectClasses | SetName::Draws => {
                // Needed at every update, so the classes are counted without sorting.
                let used = self.classes.keys().filter(|(f, _)| *f == family).map(|(_, class)| *class);
                let all = Class::CONSTANT.into_iter().chain(used);
                all.filter(|class| class.verdict_map() == set).count() as u32
            }
            _ => self.counts[(family, set)],
        }
    }

    /// The classes of a family that frontends use, in order.
    pub fn classes_in_use(&self, family: Family) -> Vec<Class> {
        let mut classes: Vec<_> =
            self.classes.keys().filter(|(f, _)| *f == family).map(|(_, class)| *class).collect();
        classes.sort_unstable();
        classes
    }

    /// The elements of the shared sets.
    pub fn shared_elements(&self) -> impl Iterator<Item = (Family, SetName, Concat)> {
        self.shared.keys().map(|(set, address)| (Family::of(*address), *set, shared_key(*set, *address)))
    }

    /// Whether a shared set has an element of this key.
    pub fn has_shared(&self, set: SetName, key: &Concat) -> bool {
        // The key is an address, or the same address twice.
        let bytes = key.as_bytes();
        let address = match bytes.len() {
            4 | 8 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
            _ => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        };
        address.is_some_and(|address| {
            self.shared.contains_key(&(set, address)) && shared_key(set, address) == *key
        })
    }

    /// Whether an address is in a shared set.
    pub fn has_address(&self, set: SetName, address: IpAddr) -> bool {
        self.shared.contains_key(&(set, address))
    }

    /// The addresses of a shared set.
    pub fn addresses(&self, set: SetName) -> HashSet<IpAddr> {
        self.shared.keys().filter(|(s, _)| *s == set).map(|(_, address)| *address).collect()
    }

    /// Everything that has changed since the last call, in a fixed order.
    pub fn take_changes(&mut self) -> NetChanges {
        let changes = self.changes.as_mut().map(std::mem::take).unwrap_or_default();
        let mut net = NetChanges::default();
        let differing = changes.elements.into_iter().filter(|(_, (before, after))| before != after);
        net.elements.extend(differing.map(|(key, (before, after))| (key, before, after)));
        for ((family, class), was_live) in changes.classes {
            match (was_live, self.classes.contains_key(&(family, class))) {
                (false, true) => net.new_classes.push((family, class)),
                (true, false) => net.old_classes.push((family, class)),
                _ => {}
            }
        }
        net.elements.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        net.new_classes.sort_unstable();
        net.old_classes.sort_unstable();
        net
    }
}

fn shared_key(set: SetName, address: IpAddr) -> Concat {
    match set {
        SetName::Hairpin => Concat::new(&[address.into(), address.into()]),
        _ => Concat::new(&[address.into()]),
    }
}
