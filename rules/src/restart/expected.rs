//! Which keys an earlier run has left, so that large sets can be read by their keys.

use std::collections::BTreeSet;

use crate::{
    compile::Compiler,
    plane::{
        Class, PerSet, SetName, attributes_of, classes_of, endpoint_id_key, frontend_of_class,
        is_at_endpoint_id, number_from_value,
    },
    ruleset::{ClassId, Concat, Element, Family, Ruleset, Table},
};

/// The keys at the map of endpoints to which an element of another map leads that an earlier run left: those of the slots of a
/// class, or that of an endpoint id.
pub fn led_to(endpoints: SetName, leader: SetName, key: &Concat, element: &Element) -> Vec<Concat> {
    let of_class = |frontend: &[u8]| {
        let slots = number_from_value(&element.data).and_then(Class::slots_of);
        let (first, count) = slots.unwrap_or_default();
        let key = |slot: u32| Concat::from_bytes(frontend).with(ClassId(first | slot).into());
        (0..count).map(key).collect()
    };
    if classes_of(endpoints) == Some(leader) {
        of_class(key.as_bytes())
    } else if attributes_of(endpoints) == Some(leader) {
        let id = || endpoint_id_key(key, &element.data).into_iter().collect();
        frontend_of_class(key).map_or_else(id, of_class)
    } else {
        Vec::new()
    }
}

/// The keys at a map of endpoints of those that have endpoint ids, by the attributes of a table.
pub fn endpoint_id_keys(table: &Table, endpoints: SetName) -> Vec<Concat> {
    let attributes = attributes_of(endpoints).and_then(|attributes| table.sets.get(attributes.name()));
    let attributes = attributes.into_iter().flat_map(|set| set.elements.iter());
    let keys: BTreeSet<Concat> =
        attributes.filter_map(|(key, element)| endpoint_id_key(key, &element.data)).collect();
    keys.into_iter().collect()
}

/// How many endpoints that are gone are asked for at least, however few there are now. If there are more, the set is read
/// as a whole. A frontend that another process wrote may be of any class.
const MOST_GONE: usize = 1 << 16;

/// The keys that the kernel should have. Endpoint ids, which depend on the earlier run, are read from the kernel's own
/// maps of attributes; endpoints that are not there any more are found by the classes of their frontends.
#[derive(Debug)]
pub struct ExpectedKeys(PerSet<Vec<Concat>>);

impl ExpectedKeys {
    /// The sets to read before others.
    pub const FIRST: [&'static str; 4] = [
        SetName::Attributes.name(),
        SetName::NodePortAttributes.name(),
        SetName::Frontends.name(),
        SetName::NodePorts.name(),
    ];

    /// The keys that a compiler would write that has compiled the state for an empty kernel.
    pub fn new(compiled: &Compiler) -> Self {
        Self(compiled.held_keys())
    }

    /// Takes the keys of one set, each once, in order; none if there are too many. `read` holds the elements of
    /// [`ExpectedKeys::FIRST`].
    pub fn take(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Some(set) = SetName::from_name(set) else { return Vec::new() };
        let mut keys = std::mem::take(&mut self.0[(family, set)]);
        let (Some(attributes), Some(classes)) = (attributes_of(set), classes_of(set)) else { return keys };
        let elements = |set: SetName| {
            let read = read.tables.get(&family).and_then(|table| table.sets.get(set.name()));
            read.into_iter().flat_map(|set| set.elements.iter())
        };
        let (mut more, most) = (Vec::new(), keys.len().max(MOST_GONE));
        let of_attributes =
            elements(attributes).filter_map(|(key, element)| Some((frontend_of_class(key)?, element)));
        let of_frontends = elements(classes).map(|(key, element)| (key.as_bytes(), element));
        for (frontend, element) in of_frontends.chain(of_attributes) {
            let slots = number_from_value(&element.data).and_then(Class::slots_of);
            let Some((first, count)) = slots else { continue };
            let key = |slot: u32| Concat::from_bytes(frontend).with(ClassId(first | slot).into());
            if keys.binary_search(&key(count - 1)).is_ok() {
                continue;
            }
            if more.len() + count as usize > most {
                return Vec::new();
            }
            more.extend((0..count).map(key));
        }
        keys.retain(|key| !is_at_endpoint_id(key));
        more.extend(elements(attributes).filter_map(|(key, element)| endpoint_id_key(key, &element.data)));
        if !more.is_empty() {
            keys.extend(more);
            keys.sort_unstable();
            keys.dedup();
        }
        keys
    }
}
