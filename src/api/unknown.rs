//! Keys of an object that the API does not have, mostly misspelt keys.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};

/// A mapping that passes on only known keys, and collects the others.
pub(super) struct KnownKeys<'k, A> {
    pub map: A,
    pub known: &'static [&'static str],
    pub unknown: &'k mut Vec<Box<str>>,
}

/// Reads a key: the known key with this name, or the name.
struct KeySeed(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Result<&'static str, Box<str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Result<&'static str, Box<str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|known| **known == key).copied().ok_or_else(|| key.into()))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownKeys<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.map.next_key_seed(KeySeed(self.known))? {
                None => return Ok(None),
                Some(Ok(known)) => return seed.deserialize(known.into_deserializer()).map(Some),
                Some(Err(unknown)) => {
                    self.unknown.push(unknown);
                    self.map.next_value::<IgnoredAny>()?;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The message for an unknown key, with a known key that is similar, if there is one.
pub(super) fn message(key: &str, known: &[&str], of: &str) -> String {
    let distance = |known: &&&str| strsim::osa_distance(&key.to_lowercase(), &known.to_lowercase());
    let nearest = known.iter().min_by_key(distance).filter(|known| distance(known) <= 2);
    let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
    format!("is not a field of {of}, ignored{hint}")
}
