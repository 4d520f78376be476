//! Which keys an earlier run over the same Services has left, for whoever reads large sets by their keys.

use crate::{
    compile::Compiler,
    plane::{PerSet, SetName, attributes_of, is_lasting, lasting},
    ruleset::{Concat, Family, Ruleset},
};

/// The keys that the kernel should have. Numbers that are given out, of endpoints with session affinity, it has
/// itself: they stand in its maps of attributes.
#[derive(Debug)]
pub struct ExpectedKeys(PerSet<Vec<Concat>>);

impl ExpectedKeys {
    /// The sets to read before others.
    pub const FIRST: [&'static str; 2] = [SetName::Attributes.name(), SetName::NodePortAttributes.name()];

    /// Of what a compiler would write that has compiled the state for a kernel that holds nothing.
    pub fn new(compiled: &Compiler) -> Self {
        Self(compiled.held_keys())
    }

    /// The keys of one set, each once, in order; they are given out once. `read` holds the elements of
    /// [`ExpectedKeys::FIRST`].
    pub fn take(&mut self, read: &Ruleset, family: Family, set: &str) -> Vec<Concat> {
        let Some(set) = SetName::from_name(set) else { return Vec::new() };
        let mut keys = std::mem::take(&mut self.0[(family, set)]);
        let Some(attributes) = attributes_of(set) else { return keys };
        keys.retain(|key| !is_lasting(key));
        let attributes = read.tables.get(&family).and_then(|table| table.sets.get(attributes.name()));
        if let Some(attributes) = attributes.filter(|attributes| !attributes.elements.is_empty()) {
            keys.extend(attributes.elements.iter().filter_map(|(key, element)| lasting(key, &element.data)));
            keys.sort_unstable();
            keys.dedup();
        }
        keys
    }
}
