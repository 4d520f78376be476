//! Endpoint ids, for session affinity.
//!
//! A client's element in the affinity map holds the *endpoint id* of its endpoint: a number that the endpoint keeps
//! when it moves to another slot, and at which the endpoint maps also hold it. When the endpoint is removed, its id
//! leads nowhere, and another endpoint is drawn for its clients. The upper half of the id is the *port number* of the
//! ServicePort, the lower half counts endpoints.

use std::net::SocketAddr;

use foldhash::{HashMap, HashMapExt, HashSet};

use super::adopt::FrontendSlots;
use crate::plane::{ENDPOINT_MASK, PORT_MASK};

/// The port numbers of the ServicePorts with session affinity, of one family.
#[derive(Clone, Debug, Default)]
pub struct PortNumbers {
    used: HashSet<u16>,
    /// Numbers from an earlier run, of ports that are not compiled yet.
    reserved: HashSet<u16>,
    last: u16,
}

impl PortNumbers {
    /// Reserves numbers for the ports that had them in an earlier run; an empty set ends the reservation.
    pub fn reserve(&mut self, numbers: HashSet<u16>) {
        self.reserved = numbers;
    }

    /// Makes the first free number after `origin` the next one to be taken.
    pub fn start_after(&mut self, origin: u16) {
        self.last = origin & (PORT_MASK >> 16) as u16;
    }

    /// Takes the first free number after the number taken last, so that a number is reused late, when the elements of
    /// clients that hold it have expired. `None` if all 32,767 are taken.
    pub fn take(&mut self) -> Option<u16> {
        let most = (PORT_MASK >> 16) as u16;
        for _ in 0..most {
            self.last = if self.last >= most { 1 } else { self.last + 1 };
            if !self.reserved.contains(&self.last) && self.used.insert(self.last) {
                return Some(self.last);
            }
        }
        None
    }

    /// Takes this number if it is free; returns whether it was.
    pub fn adopt(&mut self, number: u16) -> bool {
        number != 0 && u32::from(number) << 16 & !PORT_MASK == 0 && self.used.insert(number)
    }

    /// Gives a number back.
    pub fn release(&mut self, number: u16) {
        self.used.remove(&number);
    }
}

/// Session affinity of one ServicePort in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAffinity {
    /// Port number of the ServicePort.
    pub port: u16,
    /// Seconds after a client's last connection during which it stays with its endpoint.
    pub timeout: u32,
    endpoints: HashMap<SocketAddr, u16>,
    last: u16,
}

impl SessionAffinity {
    /// Assigns an id to each endpoint; endpoints that had an id before keep it.
    pub fn new(port: u16, timeout: u32, prior: Option<Self>, wanted: &[&[SocketAddr]]) -> Self {
        let (mut known, mut last) = prior.map_or_else(Default::default, |p| (p.endpoints, p.last));
        let wanted: Vec<SocketAddr> = wanted.iter().flat_map(|list| list.iter().copied()).collect();
        let mut endpoints: HashMap<SocketAddr, u16> = HashMap::with_capacity(wanted.len());
        for endpoint in &wanted {
            if let Some(number) = known.remove(endpoint) {
                endpoints.insert(*endpoint, number);
            }
        }
        let mut used: HashSet<u16> = endpoints.values().copied().collect();
        for endpoint in wanted {
            endpoints.entry(endpoint).or_insert_with(|| {
                // As with ports, a number is reused late. Zero is never used.
                for _ in 0..u16::MAX {
                    last = last.checked_add(1).unwrap_or(1);
                    if used.insert(last) {
                        break;
                    }
                }
                last
            });
        }
        Self { port, timeout, endpoints, last }
    }

    /// The ids that an earlier run left in the kernel. New endpoints are numbered after `origin`.
    pub fn adopt(slots: &FrontendSlots, origin: u16) -> Option<Self> {
        let port = slots.port?;
        let ours = slots
            .endpoint_ids
            .iter()
            .filter(|(number, _)| (*number >> 16) as u16 == port && *number & ENDPOINT_MASK != 0);
        let endpoints: HashMap<_, _> = ours.map(|(number, e)| (*e, (number & 0xffff) as u16)).collect();
        Some(Self { port, timeout: 1, endpoints, last: origin })
    }

    /// The id of the ServicePort as a whole.
    pub fn port_id(&self) -> u32 {
        u32::from(self.port) << 16
    }

    /// The id of an endpoint.
    pub fn endpoint_id(&self, endpoint: &SocketAddr) -> u32 {
        self.port_id() | u32::from(self.endpoints.get(endpoint).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(numbers: &[u8]) -> Vec<SocketAddr> {
        numbers.iter().map(|n| ([10, 0, 0, *n], 80).into()).collect()
    }

    #[test]
    fn an_endpoint_keeps_its_id_and_a_new_one_gets_a_new_id() {
        let before = SessionAffinity::new(1, 60, None, &[&endpoints(&[1, 2, 3])]);
        let after = SessionAffinity::new(1, 60, Some(before.clone()), &[&endpoints(&[1, 3, 4])]);
        for kept in endpoints(&[1, 3]) {
            assert_eq!(before.endpoint_id(&kept), after.endpoint_id(&kept));
        }
        let new = after.endpoint_id(&endpoints(&[4])[0]);
        assert!(endpoints(&[1, 2, 3]).iter().all(|old| before.endpoint_id(old) != new));
    }

    #[test]
    fn port_numbers_are_reused_late() {
        let mut numbers = PortNumbers::default();
        assert_eq!((numbers.take(), numbers.take()), (Some(1), Some(2)));
        numbers.release(1);
        assert_eq!(numbers.take(), Some(3));
        numbers.start_after(0x7fff);
        assert_eq!(numbers.take(), Some(1));
        numbers.release(1);
        assert!(!numbers.adopt(3) && numbers.adopt(1) && !numbers.adopt(0) && !numbers.adopt(0x8001));
    }
}
