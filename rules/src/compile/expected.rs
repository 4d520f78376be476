//! Which keys an earlier run over the same Services has left, for whoever reads large sets by their keys.

use crate::ruleset::{ClassId, Concat, DataType, ElementData, Family, Ruleset, Value};

use super::{
    compiler::Compiler,
    per_set::PerSet,
    scaffold::{LOCAL_SLOTS, attribute},
    sets::SetName,
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
        let attributes = match set {
            SetName::Endpoints => SetName::Attributes,
            SetName::NodeEndpoints => SetName::NodePortAttributes,
            _ => return keys,
        };
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

/// Of an endpoint that stands at its lasting number, the attribute of the first slot that leads to such numbers.
pub fn first_slot(set: SetName, key: &Concat) -> Option<(SetName, Concat)> {
    let attributes = match set {
        SetName::Endpoints => SetName::Attributes,
        SetName::NodeEndpoints => SetName::NodePortAttributes,
        _ => return None,
    };
    let (frontend, number) = split(key).filter(|_| is_lasting(key))?;
    let slot = ClassId(attribute::SLOTS | number & LOCAL_SLOTS);
    Some((attributes, Concat::from_bytes(frontend).with(slot.into())))
}

/// Whether this is the key of such an attribute.
pub fn is_first_slot(set: SetName, key: &Concat) -> bool {
    matches!(set, SetName::Attributes | SetName::NodePortAttributes)
        && split(key).is_some_and(|(_, number)| number & !LOCAL_SLOTS == attribute::SLOTS)
}

/// The number at the end of a key, and what stands before it.
fn split(key: &Concat) -> Option<(&[u8], u32)> {
    let (rest, number) = key.as_bytes().split_last_chunk()?;
    Some((rest, u32::from_ne_bytes(*number)))
}

/// Whether an endpoint stands there by its lasting number, rather than at a slot.
fn is_lasting(key: &Concat) -> bool {
    split(key).is_some_and(|(_, number)| (number & !LOCAL_SLOTS) >> 16 != 0)
}

/// The key of the endpoint whose lasting number an attribute tells.
fn lasting(key: &Concat, data: &ElementData) -> Option<Concat> {
    let (frontend, number) = split(key)?;
    let ElementData::Value(value) = data else { return None };
    let Value::Class(lasting) = Value::read(DataType::ClassId, value.as_bytes())? else { return None };
    let list = number & !0xffff;
    let is_slot = list == attribute::SLOTS || list == attribute::LOCAL_SLOTS;
    let number = ClassId(lasting.0 | number & LOCAL_SLOTS);
    is_slot.then(|| Concat::from_bytes(frontend).with(number.into()))
}
