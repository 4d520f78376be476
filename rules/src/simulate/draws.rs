//! Random choices.

/// One random choice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) value: u32,
    pub(super) modulus: u32,
}

/// Where random choices come from.
pub(super) enum Draws<'m> {
    /// A given sequence. At its end, the course stops and requests one more choice.
    Given(std::slice::Iter<'m, Draw>),
    /// A random number generator.
    Random(SplitMix),
}

/// Steele, Lea and Flood's generator: every seed gives another sequence.
pub(super) struct SplitMix(pub(super) u64);

impl SplitMix {
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
