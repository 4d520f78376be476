//! Maglev tables (Eisenbud et al., NSDI 2016, §3.4): the endpoint at each hash.
//!
//! The table depends on the set of endpoints only, so every node has the same table; and when one endpoint of N
//! is removed, little more than its own 1/N of the table changes.

use std::{collections::BTreeMap, hash::Hasher, net::SocketAddr};

use siphasher::sip::SipHasher13;

/// Keys of the two hashes. Any numbers do, as long as every node has the same.
const OFFSET_KEY: (u64, u64) = (0x706f_7274_6f6c_616e, 1);
const SKIP_KEY: (u64, u64) = (0x706f_7274_6f6c_616e, 2);

/// Sizes of tables, each about twice the one before: primes, so that every walk visits every entry.
const SIZES: [u16; 16] = [2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039, 4093, 8191, 16_381, 32_749, 65_521];

/// The size of the table for this number of endpoints. It is large enough that shares differ by at most five percent
/// with up to 3,276 endpoints, and that the removal of an endpoint moves less than 2/N of the table with up to 32
/// endpoints, or less than 5/N with up to 128. The size changes at only a few numbers of endpoints, because a table of another size is another table.
pub fn table_size(endpoints: usize) -> u16 {
    match endpoints {
        0..=16 => 1021,
        17..=128 => 4093,
        129..=512 => 16_381,
        _ => 65_521,
    }
}

/// The largest table size of at most `most` entries; one entry if no other size is that small.
pub fn size_within(most: usize) -> u16 {
    SIZES.into_iter().rev().find(|size| usize::from(*size) <= most).unwrap_or(1)
}

/// Fills a table from endpoints, each of which is listed as many times as its weight.
pub fn table(endpoints: &[SocketAddr], size: u16) -> Vec<SocketAddr> {
    let mut weights: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for endpoint in endpoints {
        *weights.entry(*endpoint).or_default() += 1;
    }
    let size = usize::from(size);
    let mut walks: Vec<Walk> = weights.into_iter().map(|(e, weight)| Walk::new(e, weight, size)).collect();
    let mut table: Vec<Option<SocketAddr>> = vec![None; if walks.is_empty() { 0 } else { size }];
    let mut free = table.len();
    // In turns, each endpoint takes the next free entries on its own walk through the table.
    while free > 0 {
        for walk in &mut walks {
            for _ in 0..walk.weight.min(free) {
                while table[walk.position].is_some() {
                    walk.step(size);
                }
                table[walk.position] = Some(walk.endpoint);
                free -= 1;
            }
        }
    }
    table.into_iter().flatten().collect()
}

/// One endpoint's walk: with a prime size and a skip below the size, it visits every entry.
struct Walk {
    endpoint: SocketAddr,
    weight: usize,
    position: usize,
    skip: usize,
}

impl Walk {
    fn new(endpoint: SocketAddr, weight: usize, size: usize) -> Self {
        let hash = |(k0, k1)| {
            let mut hasher = SipHasher13::new_with_keys(k0, k1);
            hasher.write(endpoint.to_string().as_bytes());
            hasher.finish()
        };
        let below = |hash: u64, bound: usize| (hash % bound as u64) as usize;
        Self {
            endpoint,
            weight,
            position: below(hash(OFFSET_KEY), size),
            skip: below(hash(SKIP_KEY), (size - 1).max(1)) + 1,
        }
    }

    fn step(&mut self, size: usize) {
        self.position = (self.position + self.skip) % size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(n: u8) -> Vec<SocketAddr> {
        (0..n).map(|i| ([10, 0, 0, i], 80).into()).collect()
    }

    /// In permille.
    fn share(table: &[SocketAddr], endpoint: SocketAddr) -> usize {
        1000 * table.iter().filter(|e| **e == endpoint).count() / table.len()
    }

    #[test]
    fn shares_are_nearly_equal() {
        for n in [1, 3, 10, 100] {
            let endpoints = endpoints(n);
            let table = table(&endpoints, table_size(endpoints.len()));
            for endpoint in &endpoints {
                let share = share(&table, *endpoint) * usize::from(n);
                assert!((900..1100).contains(&share), "of {n}, {endpoint} has {share}‰ of its share");
            }
        }
    }

    #[test]
    fn one_of_n_that_goes_moves_a_few_nths() {
        for (n, most) in [(2, 2), (3, 2), (5, 2), (10, 2), (16, 2), (32, 2), (64, 5), (128, 5)] {
            let all = endpoints(n);
            let size = table_size(all.len());
            let before = table(&all, size);
            for gone in (0..all.len()).step_by(all.len().div_ceil(20)) {
                let mut rest = all.clone();
                rest.remove(gone);
                let after = table(&rest, size);
                let moved = before.iter().zip(&after).filter(|(a, b)| a != b).count();
                assert!(moved * all.len() < most * before.len(), "of {n}, {gone} moves {moved} of {size}");
            }
        }
    }

    #[test]
    fn a_table_of_any_size_is_filled() {
        for size in SIZES.into_iter().chain([1]) {
            let all = endpoints(3);
            let table = table(&all[..all.len().min(size.into())], size);
            assert_eq!(table.len(), usize::from(size));
        }
        assert_eq!([0, 1, 2, 30, 31, 4093, 65_536].map(size_within), [1, 1, 2, 13, 31, 4093, 65_521]);
    }

    #[test]
    fn weights_divide_the_table() {
        let [a, b] = [([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()];
        let table = table(&[a, b, b, b], 1021);
        assert!((240..260).contains(&share(&table, a)));
    }

    #[test]
    fn no_endpoints_make_no_table() {
        assert_eq!(table(&[], 1021), []);
    }
}
