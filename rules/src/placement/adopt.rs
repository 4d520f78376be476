//! Slots that an earlier run left in the kernel, to be kept rather than rewritten.

use std::{collections::BTreeMap, net::SocketAddr};

use foldhash::{HashMap, HashSet};

use crate::{
    frontends::FrontendKey,
    plane::{
        Class, Keys, LOCAL_SLOTS, RangeList, SetName, attribute, endpoint_from_value, number_from_value,
    },
    ruleset::{ClassId, Concat, Element, ElementData, Family, Ruleset, Set, Table},
    selection::load_balancer_source_ranges::AddressRange,
};

/// Endpoints at their slots; a slot may be unknown.
pub type Slots = Vec<Option<SocketAddr>>;

/// The endpoints at the slots of one frontend.
#[derive(Clone, Debug, Default)]
pub struct FrontendSlots {
    /// At the slots from 0.
    pub plain: Slots,
    /// At the slots from [`LOCAL_SLOTS`].
    pub local: Slots,
    /// Port number of the ServicePort, with session affinity.
    pub port: Option<u16>,
    /// At endpoint ids, with session affinity.
    pub endpoint_ids: BTreeMap<u32, SocketAddr>,
    /// Source ranges in the list that its class reads.
    pub sources: Option<(RangeList, Vec<AddressRange>)>,
}

impl FrontendSlots {
    /// The endpoints at plain slots, then those at local slots that have no plain slot; each as often as it has slots.
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> {
        let other = |endpoint: &SocketAddr| !self.plain.contains(&Some(*endpoint));
        let local = self.local.iter().flatten().filter(move |endpoint| other(endpoint));
        self.plain.iter().flatten().chain(local).copied()
    }
}

/// The slots of every frontend of a ruleset.
#[derive(Clone, Debug, Default)]
pub struct AdoptedSlots(HashMap<FrontendKey, FrontendSlots>);

impl AdoptedSlots {
    /// Reads the endpoint maps, and the attributes that lead from a slot to an endpoint id.
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut adopted = Self::default();
        for (family, table) in &ruleset.tables {
            for keys in Keys::ALL {
                adopted.endpoints(*family, table, keys.endpoints());
                adopted.attributes(*family, table, keys.attributes());
            }
            adopted.sources(*family, table);
        }
        adopted
    }

    /// The slots of a frontend.
    pub fn get(&self, frontend: &FrontendKey) -> Option<&FrontendSlots> {
        self.0.get(frontend)
    }

    /// All frontends with the endpoints at their slots.
    pub fn iter(&self) -> impl Iterator<Item = (&FrontendKey, &FrontendSlots)> {
        self.0.iter()
    }

    /// Whether no frontend has an endpoint.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The port numbers of the ServicePorts with session affinity.
    pub fn port_numbers(&self, family: Family) -> HashSet<u16> {
        self.0.iter().filter(|(key, _)| key.family() == family).filter_map(|(_, slots)| slots.port).collect()
    }

    fn endpoints(&mut self, family: Family, table: &Table, map: SetName) {
        let Some(set) = table.sets.get(map.name()) else { return };
        for (frontend, number, data) in numbered(family, set) {
            let ElementData::Value(value) = data else { continue };
            let Some(endpoint) = endpoint_from_value(family, value) else { continue };
            let slots = self.0.entry(frontend).or_default();
            if (number & !LOCAL_SLOTS) >> 16 != 0 {
                slots.endpoint_ids.insert(number & !LOCAL_SLOTS, endpoint);
            } else if number & LOCAL_SLOTS == 0 {
                put(&mut slots.plain, number, endpoint);
            } else {
                put(&mut slots.local, number & !LOCAL_SLOTS, endpoint);
            }
        }
    }

    fn sources(&mut self, family: Family, table: &Table) {
        let read = |element: &Element| Class::range_list_of(number_from_value(&element.data)?);
        let frontends = table.frontends(family);
        let lists: HashMap<FrontendKey, RangeList> =
            frontends.filter_map(|(key, element)| Some((key, read(element)?))).collect();
        for list in RangeList::ALL {
            let Some(ranges) = table.sets.get(list.set().name()) else { continue };
            for (first, element) in &ranges.elements {
                let end = |key: &Concat| {
                    let values = key.values(&ranges.key)?;
                    let (address, frontend) = values.split_last()?;
                    Some((FrontendKey::from_values(family, frontend)?, address.address()?))
                };
                let ends = end(first).zip(end(element.end.as_deref().unwrap_or(first)));
                let Some(((frontend, first), (_, last))) = ends else { continue };
                if lists.get(&frontend) == Some(&list) {
                    let slots = self.0.entry(frontend).or_default();
                    slots.sources.get_or_insert((list, Vec::new())).1.push((first, last));
                }
            }
        }
    }

    fn attributes(&mut self, family: Family, table: &Table, map: SetName) {
        let Some(set) = table.sets.get(map.name()) else { return };
        for (frontend, number, data) in numbered(family, set) {
            let Some(ClassId(id)) = number_from_value(data) else { continue };
            let slots = self.0.entry(frontend).or_default();
            if number == attribute::PORT_NUMBER {
                slots.port = Some((id >> 16) as u16);
            }
            let Some(endpoint) = slots.endpoint_ids.get(&id).copied() else { continue };
            let slot = number & 0xffff;
            match number & !0xffff {
                attribute::SLOTS => put(&mut slots.plain, slot, endpoint),
                attribute::LOCAL_SLOTS => put(&mut slots.local, slot, endpoint),
                _ => {}
            }
        }
    }
}

/// The elements of a map whose key is a frontend and a number.
fn numbered(family: Family, set: &Set) -> impl Iterator<Item = (FrontendKey, u32, &ElementData)> {
    set.elements.iter().filter_map(move |(key, element)| {
        let (frontend, number) = FrontendKey::from_slot(family, &set.key, key)?;
        Some((frontend, number, &element.data))
    })
}

/// Puts an endpoint at a slot. A slot number has at most 16 bits, so a stray number does not make the list too long.
fn put(slots: &mut Slots, slot: u32, endpoint: SocketAddr) {
    let slot = slot as usize;
    if slots.len() <= slot {
        slots.resize(slot + 1, None);
    }
    slots[slot] = Some(endpoint);
}
