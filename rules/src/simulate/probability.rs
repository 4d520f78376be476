//! Exact probabilities.

use std::{fmt, ops::AddAssign, sync::Arc};

use num_bigint::BigUint;
use num_rational::Ratio;

use super::draws::Draw;

/// A probability, as an exact fraction in lowest terms. Clones share the fraction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probability(Arc<Ratio<BigUint>>);

impl Probability {
    /// `numerator / denominator`; zero if the denominator is zero.
    pub fn new(numerator: u64, denominator: u64) -> Self {
        Self(Arc::new(match denominator {
            0 => Ratio::from_integer(0_u8.into()),
            _ => Ratio::new(numerator.into(), denominator.into()),
        }))
    }

    /// The probability of one sequence of independent draws.
    pub(super) fn of_draws(moduli: impl Iterator<Item = u32>) -> Self {
        Self(Arc::new(Ratio::new(1_u8.into(), moduli.map(BigUint::from).product())))
    }

    /// The probability of these draws and of all later sequences of draws in the order of enumeration.
    pub(super) fn left(draws: &[Draw]) -> Self {
        let mut left = Ratio::from_integer(BigUint::ZERO);
        let mut prefix = Ratio::from_integer(BigUint::from(1_u8));
        for (i, draw) in draws.iter().enumerate() {
            prefix /= BigUint::from(draw.modulus.max(1));
            // The last draw's current value has not been followed yet.
            let open = draw.modulus - draw.value - u32::from(i + 1 < draws.len());
            left += &prefix * BigUint::from(open);
        }
        Self(Arc::new(left))
    }

    /// Returns the probability as an approximate floating point number.
    #[expect(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
    pub fn to_f64(&self) -> f64 {
        if let (Ok(numerator), Ok(denominator)) =
            (u64::try_from(self.0.numer()), u64::try_from(self.0.denom()))
        {
            return numerator as f64 / denominator as f64;
        }
        // Digits beyond a float's precision are dropped from both, so that neither overflows.
        let excess = self.0.denom().bits().saturating_sub(1000);
        let float = |n: &BigUint| {
            (n >> excess).iter_u64_digits().rev().fold(0.0, |sum, digit| sum * 2_f64.powi(64) + digit as f64)
        };
        float(self.0.numer()) / float(self.0.denom())
    }
}

impl AddAssign<&Self> for Probability {
    fn add_assign(&mut self, other: &Self) {
        *Arc::make_mut(&mut self.0) += &*other.0;
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}
