//! Which keys an earlier run over the same Services has left, so that large sets can be read by their keys.

use crate::{
    compile::Compiler,
    plane::{PerSet, SetName, attributes_of, endpoint_id_key, is_at_endpoint_id},
    ruleset::{Concat, Family, Ruleset},
};

/// The keys that the kernel should have. Endpoint ids, which depend on the earlier run, are read from the kernel's own
/// maps of attributes.
#[derive(Debug)]
pub struct ExpectedKeys(PerSet<Vec<Concat>>);

impl ExpectedKeys {
    /// The sets to read before others.
    pub const FIRST: [&'static str; 2] = [SetName::Attributes.name(), SetName::NodePortAttributes.name()];

    /// The keys that a compiler would write that has compiled the state for an empty kernel.
    pub fn new(compiled: &Compiler) -> Self {
        Self(compiled.held_keys())
    }

    /// Takes the keys of one set, each once, in order. `read` holds the elements of [`ExpectedKeys::FIRST`].
    pub fn take(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Some(set) = SetName::from_name(set) else { return Vec::new() };
        let mut keys = std::mem::take(&mut self.0[(family, set)]);
        let Some(attributes) = attributes_of(set) else { return keys };
        keys.retain(|key| !is_at_endpoint_id(key));
        let attributes = read.tables.get(&family).and_then(|table| table.sets.get(attributes.name()));
        if let Some(attributes) = attributes.filter(|attributes| !attributes.elements.is_empty()) {
            keys.extend(
                attributes.elements.iter().filter_map(|(key, element)| endpoint_id_key(key, &element.data)),
            );
            keys.sort_unstable();
            keys.dedup();
        }
        keys
    }
}
