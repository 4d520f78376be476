//! `portolan.io/weights`: the shares of endpoints.

use std::net::SocketAddr;

use crate::model::Endpoint;

/// Selected endpoints, sorted, each once, with their weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    addresses: Vec<SocketAddr>,
    /// The weight of each, divided by the greatest common divisor; empty if all are the same.
    weights: Vec<u16>,
}

impl Chosen {
    /// Endpoints that all weigh the same.
    pub const fn even(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, weights: Vec::new() }
    }

    /// Endpoints with the weights that they have among `endpoints`, which are sorted.
    pub fn new(addresses: Vec<SocketAddr>, endpoints: &[(SocketAddr, &Endpoint)]) -> Self {
        let weight = |address: &SocketAddr| {
            let found = endpoints.binary_search_by_key(address, |(address, _)| *address);
            found.ok().and_then(|i| endpoints.get(i)).map_or(1, |(_, endpoint)| endpoint.weight)
        };
        let mut weights: Vec<u16> = addresses.iter().map(weight).collect();
        let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        for weight in &mut weights {
            *weight /= common;
        }
        if weights.iter().all(|weight| *weight == 1) {
            weights = Vec::new();
        }
        Self { addresses, weights }
    }

    /// The number of endpoints.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The number of slots that the endpoints take if each has as many slots as its weight.
    pub fn slots(&self) -> usize {
        if self.weights.is_empty() { self.len() } else { self.weights.iter().copied().map(usize::from).sum() }
    }

    /// Repeats each endpoint as many times as its weight, for at most `most` slots. If these are too few, weights are
    /// made coarser; if there are more endpoints than slots, only the first endpoints have a slot, one each.
    pub fn spread(mut self, most: usize) -> Vec<SocketAddr> {
        let (slots, count) = (self.slots(), self.len());
        if count > most {
            self.addresses.truncate(most);
            return self.addresses;
        }
        if self.weights.is_empty() {
            return self.addresses;
        }
        let times = |weight: u16| {
            let weight = usize::from(weight);
            if slots <= most {
                return weight;
            }
            // Each endpoint has one slot, and the other slots are divided, so that all fit.
            1 + weight.saturating_sub(1) * (most - count) / (slots - count)
        };
        let mut spread = Vec::with_capacity(slots.min(most));
        for (address, weight) in self.addresses.into_iter().zip(self.weights) {
            spread.extend(std::iter::repeat_n(address, times(weight)));
        }
        spread
    }
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
