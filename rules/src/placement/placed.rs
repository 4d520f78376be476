//! Endpoints at their slots, stored in little memory: there are more of them than of anything else.

use std::{
    mem,
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
};

use crate::ruleset::Family;

/// A slot, and the endpoints there before and after a change.
pub type SlotChange = (usize, Option<SocketAddr>, Option<SocketAddr>);

/// Endpoints of one family in order of their slots. An IPv4 endpoint takes 6 bytes, where a [`SocketAddr`] takes 32.
#[derive(Clone, Debug, Default)]
pub struct Placed(Addresses);

#[derive(Clone, Debug, Default)]
enum Addresses {
    #[default]
    None,
    V4(Box<[SocketAddrV4]>),
    V6(Box<[SocketAddrV6]>),
}

impl Placed {
    /// No endpoint at all.
    pub const NONE: Self = Self(Addresses::None);

    /// These endpoints, which are all of this family.
    pub fn new(family: Family, endpoints: &[SocketAddr]) -> Self {
        if endpoints.is_empty() {
            return Self::NONE;
        }
        Self(match family {
            Family::Ip => Addresses::V4(boxed(endpoints, of_v4)),
            Family::Ip6 => Addresses::V6(boxed(endpoints, of_v6)),
        })
    }

    /// The number of endpoints.
    pub const fn len(&self) -> usize {
        let (v4, v6) = self.lists();
        v4.len() + v6.len()
    }

    /// Whether there is no endpoint.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoint at a slot.
    pub fn get(&self, slot: usize) -> Option<SocketAddr> {
        let (v4, v6) = self.lists();
        v4.get(slot).copied().map(SocketAddr::V4).or_else(|| v6.get(slot).copied().map(SocketAddr::V6))
    }

    /// The lowest slot of an endpoint.
    pub fn find(&self, endpoint: SocketAddr) -> Option<usize> {
        let (v4, v6) = self.lists();
        match endpoint {
            SocketAddr::V4(endpoint) => v4.iter().position(|other| *other == endpoint),
            SocketAddr::V6(endpoint) => v6.iter().position(|other| *other == endpoint),
        }
    }

    /// All endpoints, from slot 0.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        let (v4, v6) = self.lists();
        v4.iter().copied().map(SocketAddr::V4).chain(v6.iter().copied().map(SocketAddr::V6))
    }

    /// Applies changes. No capacity is left over: there are very many of these lists.
    pub fn apply(&mut self, changes: &[SlotChange]) {
        match &mut self.0 {
            Addresses::None => {
                let endpoints: Vec<SocketAddr> = changes.iter().filter_map(|(.., after)| *after).collect();
                let family = endpoints.first().map_or(Family::Ip, |endpoint| Family::of(endpoint.ip()));
                *self = Self::new(family, &endpoints);
            }
            Addresses::V4(list) => apply(list, changes, of_v4),
            Addresses::V6(list) => apply(list, changes, of_v6),
        }
    }

    /// The IPv4 endpoints and the IPv6 endpoints; one of the two lists is empty.
    const fn lists(&self) -> (&[SocketAddrV4], &[SocketAddrV6]) {
        match &self.0 {
            Addresses::None => (&[], &[]),
            Addresses::V4(list) => (list, &[]),
            Addresses::V6(list) => (&[], list),
        }
    }
}

const fn of_v4(endpoint: SocketAddr) -> Option<SocketAddrV4> {
    if let SocketAddr::V4(endpoint) = endpoint { Some(endpoint) } else { None }
}

const fn of_v6(endpoint: SocketAddr) -> Option<SocketAddrV6> {
    if let SocketAddr::V6(endpoint) = endpoint { Some(endpoint) } else { None }
}

fn apply<T>(list: &mut Box<[T]>, changes: &[SlotChange], of_family: impl Fn(SocketAddr) -> Option<T>) {
    let mut slots = mem::take(list).into_vec();
    let more = changes.iter().filter(|(slot, ..)| *slot >= slots.len()).count();
    slots.reserve_exact(more);
    for (slot, _, after) in changes {
        match (slots.get_mut(*slot), after.and_then(&of_family)) {
            (Some(place), Some(endpoint)) => *place = endpoint,
            (None, Some(endpoint)) => slots.push(endpoint),
            (_, None) => slots.truncate(*slot),
        }
    }
    *list = slots.into();
}

fn boxed<T>(endpoints: &[SocketAddr], of_family: impl Fn(SocketAddr) -> Option<T>) -> Box<[T]> {
    // The list has the right size from the beginning.
    let mut list = Vec::with_capacity(endpoints.len());
    list.extend(endpoints.iter().copied().filter_map(of_family));
    list.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_stay_as_they_are() {
        for (family, texts) in [
            (Family::Ip, &["10.0.0.1:80", "10.0.0.3:81", "10.0.0.2:80"][..]),
            (Family::Ip6, &["[fd00::1]:80", "[fd00::3]:81"][..]),
            (Family::Ip, &[][..]),
        ] {
            let endpoints: Vec<SocketAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let placed = Placed::new(family, &endpoints);
            assert_eq!(placed.iter().collect::<Vec<_>>(), endpoints);
            assert_eq!(placed.len(), endpoints.len());
            assert_eq!(placed.is_empty(), endpoints.is_empty());
            for slot in 0..=endpoints.len() {
                assert_eq!(placed.get(slot), endpoints.get(slot).copied());
                if let Some(endpoint) = placed.get(slot) {
                    assert_eq!(placed.find(endpoint), Some(slot));
                }
            }
        }
    }
}
