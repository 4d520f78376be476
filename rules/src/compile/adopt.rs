//! Slots that an earlier run left in the kernel, to be kept rather than rewritten.

use std::net::SocketAddr;

use foldhash::HashMap;

use crate::ruleset::{ElementData, Ruleset, Value};

use super::{
    frontend::{FrontendKey, endpoint_from_value},
    scaffold::LOCAL_SLOTS,
    sets::SetName,
};

/// Endpoints at their slots; a slot may be unknown.
pub type Slots = Vec<Option<SocketAddr>>;

/// What stands at the slots of one frontend.
#[derive(Debug, Default)]
pub struct FrontendSlots {
    /// At the slots from 0.
    pub plain: Slots,
    /// At the slots from [`LOCAL_SLOTS`].
    pub local: Slots,
}

/// The slots of every frontend of a ruleset.
#[derive(Debug, Default)]
pub struct AdoptedSlots(HashMap<FrontendKey, FrontendSlots>);

impl AdoptedSlots {
    /// Reads the endpoint maps.
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut adopted: HashMap<FrontendKey, FrontendSlots> = HashMap::default();
        for (family, table) in &ruleset.tables {
            for name in [SetName::Endpoints, SetName::NodeEndpoints] {
                let Some(set) = table.sets.get(name.name()) else { continue };
                for (key, element) in &set.elements {
                    let ElementData::Value(value) = &element.data else { continue };
                    let Some(values) = key.values(&set.key) else { continue };
                    let Some((Value::Class(slot), frontend)) = values.split_last() else { continue };
                    let Some(frontend) = FrontendKey::from_values(*family, frontend) else { continue };
                    let number = (slot.0 & !LOCAL_SLOTS) as usize;
                    if number > usize::from(u16::MAX) {
                        continue; // Not a slot that a compiler assigns.
                    }
                    let slots = adopted.entry(frontend).or_default();
                    let slots = if slot.0 & LOCAL_SLOTS == 0 { &mut slots.plain } else { &mut slots.local };
                    if slots.len() <= number {
                        slots.resize(number + 1, None);
                    }
                    slots[number] = endpoint_from_value(*family, value);
                }
            }
        }
        Self(adopted)
    }

    /// The slots of a frontend.
    pub fn get(&self, frontend: &FrontendKey) -> Option<&FrontendSlots> {
        self.0.get(frontend)
    }
}
