//! The kernel's `jhash()` (`include/linux/jhash.h`: Bob Jenkins' lookup3) as `nft_hash` uses it.

/// `JHASH_INITVAL`.
const INITIAL: u32 = 0xdead_beef;

/// Hash of `key` with `seed`.
pub(super) fn jhash(key: &[u8], seed: u32) -> u32 {
    let start = INITIAL.wrapping_add(key.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = key;
    // The last block is mixed differently, even if it is full.
    while let Some((block, more)) = rest.split_at_checked(12).filter(|(_, more)| !more.is_empty()) {
        add(&mut state, block);
        mix(&mut state);
        rest = more;
    }
    if !rest.is_empty() {
        add(&mut state, rest);
        finish(&mut state);
    }
    state[2]
}

/// `reciprocal_scale()`: maps a 32-bit number to `0..range`, keeping order.
pub(super) fn scale(number: u32, range: u32) -> u32 {
    ((u64::from(number) * u64::from(range)) >> 32) as u32
}

/// Adds up to twelve bytes, read as three little-endian words.
fn add(state: &mut [u32; 3], bytes: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(bytes.chunks(4)) {
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        *word = word.wrapping_add(value);
    }
}

/// `__jhash_mix()`.
fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    let round = |x: &mut u32, y: &mut u32, z: &mut u32, bits: u32| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(bits);
        *z = z.wrapping_add(*y);
    };
    round(&mut a, &mut b, &mut c, 4);
    round(&mut b, &mut c, &mut a, 6);
    round(&mut c, &mut a, &mut b, 8);
    round(&mut a, &mut b, &mut c, 16);
    round(&mut b, &mut c, &mut a, 19);
    round(&mut c, &mut a, &mut b, 4);
    *state = [a, b, c];
}

/// `__jhash_final()`.
fn finish(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    let round = |x: &mut u32, y: u32, bits: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(bits));
    round(&mut c, b, 14);
    round(&mut a, c, 11);
    round(&mut b, a, 25);
    round(&mut c, b, 16);
    round(&mut a, c, 4);
    round(&mut b, a, 14);
    round(&mut c, b, 24);
    *state = [a, b, c];
}

#[cfg(test)]
mod tests {
    use super::{jhash, scale};

    /// The expected values were written to the packet mark by a kernel (6.18, little-endian; `mod 4294967295`) for a
    /// UDP packet from and to port 4000 of 10.9.0.1 or `fd09::1`.
    #[test]
    fn hashes_as_a_kernel_did() {
        let [ip, udp, port] = [[10, 9, 0, 1], [17, 0, 0, 0], [0x0f, 0xa0, 0, 0]];
        let ip6 = [0xfd, 0x09, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let ip6_ip6_port = [&ip6[..], &ip6, &port].concat();
        for (key, seed, expected) in [
            (&ip[..], 1, 0x6710_cbf7),
            (&[ip, ip].concat(), 0xdead_beef, 0xec20_b628),
            (&[ip, udp, port].concat(), 7, 0x46a1_b5c4),
            (&port[..2], 7, 0xa074_f5dd),
            (&udp[..1], 7, 0x96b7_8e6d),
            (&ip6[..], 1, 0xa0fc_f427),
            (&ip6_ip6_port[..], 1, 0xcfec_9ce7),
        ] {
            assert_eq!(scale(jhash(key, seed), u32::MAX), expected, "{key:02x?}");
        }
        assert_eq!(scale(jhash(&[ip, udp, port, ip].concat(), 7), 5) + 9, 0xa);
    }

    #[test]
    fn scales_into_the_range() {
        assert_eq!((scale(0, 3), scale(u32::MAX, 3), scale(u32::MAX, 0), scale(7, 1)), (0, 2, 0, 0));
    }
}
