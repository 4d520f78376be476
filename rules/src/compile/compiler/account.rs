//! Notes the difference between two versions of a Service in the tracker.

use foldhash::{HashMap, HashSet};
use smallvec::SmallVec;

use super::Compiler;
use crate::{
    compile::{
        port::{CompiledPort, Frontend},
        service::CompiledService,
    },
    frontends::FrontendKey,
    incremental::Tracker,
    model::ObjectName,
    plane::{Class, SetName},
    ruleset::{Concat, Element, Family},
};

impl Compiler {
    /// Takes a frontend away from a Service, because another Service outranks it.
    pub(super) fn withdraw(&mut self, name: &ObjectName, key: &FrontendKey) {
        let Some(service) = self.services.get_mut(name) else { return };
        for port in &mut service.ports {
            let Some(i) = port.frontends.iter().position(|f| f.owned && f.key == *key) else { continue };
            port.frontends[i].owned = false;
            let frontend = &port.frontends[i];
            self.flows.note(port, frontend, true);
            release(&mut self.tracker, port, frontend);
        }
    }

    /// Notes the difference between two versions of a Service in the tracker.
    pub(super) fn account(&mut self, before: Option<&CompiledService>, after: Option<&CompiledService>) {
        if self.tracker.is_tracking() {
            for (service, existed) in [(before, true), (after, false)] {
                for (port, frontend) in service.into_iter().flat_map(CompiledService::owned) {
                    self.flows.note(port, frontend, existed);
                }
            }
        }
        let new_keys: HashSet<_> = match before {
            Some(_) => after.into_iter().flat_map(CompiledService::owned).map(|(_, f)| f.key).collect(),
            None => HashSet::default(),
        };
        let old_index: HashMap<_, _> =
            before.into_iter().flat_map(CompiledService::owned).map(|pair| (pair.1.key, pair)).collect();
        for (port, frontend) in after.into_iter().flat_map(CompiledService::owned) {
            if let Some(old) = old_index.get(&frontend.key) {
                self.account_frontend(*old, (port, frontend));
            } else {
                for class in port.classes(frontend) {
                    self.tracker.retain_class(port.family, class);
                }
                if self.tracker.is_tracking() {
                    port.elements(frontend, &mut |set, key, element| {
                        self.tracker.add(port.family, set, key, element);
                    });
                } else {
                    port.counts(frontend, &mut |set, count| {
                        self.tracker.count_added(port.family, set, count);
                    });
                }
            }
        }
        for (port, frontend) in before.into_iter().flat_map(CompiledService::owned) {
            if !new_keys.contains(&frontend.key) {
                release(&mut self.tracker, port, frontend);
            }
        }
        // Retains before it releases, so that an address that stays is never counted as deleted.
        let config = &self.config;
        let shared = |service: Option<&CompiledService>| {
            let addresses = service.into_iter().flat_map(CompiledService::shared_addresses);
            addresses.filter(|(_, address)| config.serves(*address)).collect::<SmallVec<[_; 4]>>()
        };
        for (set, address) in shared(after) {
            self.tracker.retain_address(set, address);
        }
        for (set, address) in shared(before) {
            self.tracker.release_address(set, address);
        }
    }

    /// Notes the difference between two versions of a frontend, slot by slot.
    fn account_frontend(&mut self, old: (&CompiledPort, &Frontend), new: (&CompiledPort, &Frontend)) {
        let (old_port, old_frontend) = old;
        let (new_port, new_frontend) = new;
        let family = new_port.family;
        if !new_port.is_same_but_slots(new_frontend, old_port, old_frontend) {
            let before = BesideSlots::of(old_port, old_frontend);
            before.replace(BesideSlots::of(new_port, new_frontend), family, &mut self.tracker);
        }
        for ((first, before), (_, after)) in
            old_port.slots(old_frontend).into_iter().zip(new_port.slots(new_frontend))
        {
            for (slot, i) in (first..).zip(0..before.len().max(after.len())) {
                let (before, after) = (before.get(i), after.get(i));
                if before != after {
                    self.tracker.replace_slot(&new_frontend.key, slot, before, after);
                }
            }
        }
    }
}

/// Notes that a frontend is gone.
fn release(tracker: &mut Tracker, port: &CompiledPort, frontend: &Frontend) {
    for class in port.classes(frontend) {
        tracker.release_class(port.family, class);
    }
    port.elements(frontend, &mut |set, key, element| tracker.remove(port.family, set, key, element));
}

/// The classes and elements that a frontend needs besides the elements at its slots.
pub(super) struct BesideSlots {
    classes: SmallVec<[Class; 5]>,
    attributes: SmallVec<[(SetName, Concat, Element); 1]>,
}

impl BesideSlots {
    pub(super) fn of(port: &CompiledPort, frontend: &Frontend) -> Self {
        Self { classes: port.classes(frontend), attributes: port.attributes(frontend) }
    }

    /// Notes that this is replaced by `after`.
    pub(super) fn replace(self, after: Self, family: Family, tracker: &mut Tracker) {
        for class in after.classes {
            tracker.retain_class(family, class);
        }
        for class in self.classes {
            tracker.release_class(family, class);
        }
        if self.attributes != after.attributes {
            for (set, key, element) in self.attributes {
                tracker.remove(family, set, key, element);
            }
            for (set, key, element) in after.attributes {
                tracker.add(family, set, key, element);
            }
        }
    }
}
