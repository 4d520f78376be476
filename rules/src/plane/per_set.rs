//! A value for each set of each table.

use std::ops::{Index, IndexMut};

use crate::ruleset::Family;

use super::sets::SetName;

/// A value for each set of each table. An array, because it is read for every element.
#[derive(Clone, Debug)]
pub struct PerSet<T>([[T; SetName::ALL.len()]; Family::ALL.len()]);

impl<T> PerSet<T> {
    /// Calls `value` for each set.
    pub fn from_fn(mut value: impl FnMut(Family, SetName) -> T) -> Self {
        Self(Family::ALL.map(|family| SetName::ALL.map(|set| value(family, set))))
    }

    /// The values with their sets, in the order in which the sets are declared.
    pub fn iter(&self) -> impl Iterator<Item = (Family, SetName, &T)> {
        Family::ALL.into_iter().zip(&self.0).flat_map(|(family, values)| {
            SetName::ALL.into_iter().zip(values).map(move |(set, value)| (family, set, value))
        })
    }

    /// The same, by value.
    pub fn into_all(self) -> impl Iterator<Item = (Family, SetName, T)> {
        Family::ALL.into_iter().zip(self.0).flat_map(|(family, values)| {
            SetName::ALL.into_iter().zip(values).map(move |(set, value)| (family, set, value))
        })
    }
}

impl<T: Default> Default for PerSet<T> {
    fn default() -> Self {
        Self::from_fn(|_, _| T::default())
    }
}

impl<T> Index<(Family, SetName)> for PerSet<T> {
    type Output = T;

    fn index(&self, (family, set): (Family, SetName)) -> &T {
        &self.0[family as usize][set as usize]
    }
}

impl<T> IndexMut<(Family, SetName)> for PerSet<T> {
    fn index_mut(&mut self, (family, set): (Family, SetName)) -> &mut T {
        &mut self.0[family as usize][set as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_finds_its_own_value() {
        let names = PerSet::from_fn(|family, set| (family, set));
        for family in Family::ALL {
            for set in SetName::ALL {
                assert_eq!(names[(family, set)], (family, set), "SetName::ALL is in the order of the enum");
            }
        }
    }
}
