//! To which endpoints elements lead that an earlier run left, so that these can be read by their keys.

use std::collections::BTreeSet;

use crate::{
    plane::{
        Class, SetName, attributes_of, classes_of, endpoint_id_key, frontend_of_class, number_from_value,
    },
    ruleset::{ClassId, Concat, Element, Table},
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
