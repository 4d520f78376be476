//! The endpoints to which the elements of an earlier run lead, so that these endpoints can be read by their keys.

use std::collections::BTreeSet;

use crate::{
    plane::{
        Class, SetName, attributes_of, classes_of, endpoint_id_key, frontend_of_class, number_from_value,
    },
    ruleset::{ClassId, Concat, Element, Table},
};

/// The keys in a map of endpoints to which an element of another map leads, as an earlier run left it: the keys of the
/// slots of a class, or the key of an endpoint id.
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

/// The keys, in a map of endpoints, of the endpoints that have endpoint ids according to the attributes of a table.
pub fn endpoint_id_keys(table: &Table, endpoints: SetName) -> Vec<Concat> {
    let attributes = attributes_of(endpoints).and_then(|attributes| table.sets.get(attributes.name()));
    let attributes = attributes.into_iter().flat_map(|set| set.elements.iter());
    let keys: BTreeSet<Concat> =
        attributes.filter_map(|(key, element)| endpoint_id_key(key, &element.data)).collect();
    keys.into_iter().collect()
}
