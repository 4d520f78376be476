//! Fields that tolerate a wrong type.
//!
//! A derived `Deserialize` stops at the first value of a wrong type, and the rest of a list of ten thousand objects is
//! lost. A [`Field`] records the wrong value instead, so that the conversion can report the object and the field, and
//! all other objects are used. An `Option` could not distinguish a wrong value from an absent one.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that may be absent (or null, which the API server treats alike) or of a wrong type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// Not there, or null.
    #[default]
    Absent,
    /// There, and of the right type.
    Value(T),
    /// There, but of a wrong type: a description such as `the text "abc"`.
    Wrong(Box<str>),
}

/// A type that a [`Field`] may hold, and the YAML and JSON types that it accepts.
///
/// Every method that is not overridden refuses the type.
pub trait Parse<'de>: Sized {
    /// A description for messages: "a number".
    const EXPECTED: &'static str;

    /// Accepts a boolean.
    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    /// Accepts a whole number.
    fn from_integer(_: i64) -> Option<Self> {
        None
    }

    /// Accepts text.
    fn from_text(_: &str) -> Option<Self> {
        None
    }

    /// Accepts a mapping. An implementation that refuses the mapping must still read it to its end.
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        IgnoredAny::deserialize(MapAccessDeserializer::new(map)).map(|_| None)
    }

    /// Accepts a list. An implementation that refuses the list must still read it to its end.
    fn from_list<A: SeqAccess<'de>>(list: A) -> Result<Option<Self>, A::Error> {
        skip_list(list).map(|()| None)
    }
}

/// Reads a list to its end.
pub(super) fn skip_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<T> Field<T> {
    /// The value, if it is there and of the right type.
    pub const fn get(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// Whether the value is absent or null.
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value, or `None` if it is absent.
    ///
    /// # Errors
    /// The value has a wrong type: what was expected, and what was found.
    pub fn read<'de>(&self) -> Result<Option<&T>, String>
    where
        T: Parse<'de>,
    {
        match self {
            Self::Absent => Ok(None),
            Self::Value(value) => Ok(Some(value)),
            Self::Wrong(found) => Err(format!("expected {}, found {found}", T::EXPECTED)),
        }
    }
}

impl<'de, T: Parse<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

struct FieldVisitor<T>(PhantomData<T>);

fn wrong<T>(value: Option<T>, found: impl FnOnce() -> String) -> Field<T> {
    value.map_or_else(|| Field::Wrong(found().into()), Field::Value)
}

/// Quotes text for a message, in one line, and shortened if it is long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().nth(SHOWN).is_none() {
        return format!("{text:?}");
    }
    let shown: String = text.chars().take(SHOWN).collect();
    format!("{shown:?}…")
}

impl<'de, T: Parse<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Field::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(wrong(T::from_bool(value), || format!("the boolean {value}")))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(wrong(T::from_integer(value), || format!("the number {value}")))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(value).ok().and_then(T::from_integer);
        Ok(wrong(number, || format!("the number {value}")))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Self::Value, E> {
        Ok(wrong(None, || format!("the number {value}")))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Self::Value, E> {
        Ok(wrong(None, || format!("the number {value}")))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(wrong(None, || format!("the number {value:?}")))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(wrong(T::from_text(value), || format!("the text {}", quote(value))))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Ok(wrong(T::from_map(map)?, || "a mapping".to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Ok(wrong(T::from_list(list)?, || "a list".to_owned()))
    }
}

impl Parse<'_> for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Parse<'_> for i64 {
    const EXPECTED: &'static str = "a whole number";

    fn from_integer(value: i64) -> Option<Self> {
        Some(value)
    }
}

impl Parse<'_> for Box<str> {
    const EXPECTED: &'static str = "text";

    fn from_text(value: &str) -> Option<Self> {
        Some(value.into())
    }
}

impl<'de, T: Parse<'de>> Parse<'de> for Vec<Field<T>> {
    const EXPECTED: &'static str = "a list";

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut all = Self::new();
        while let Some(element) = list.next_element()? {
            all.push(element);
        }
        Ok(Some(all))
    }
}

/// The first element of a list, where the API gives no meaning to the others (`addresses`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First<T>(pub Field<T>);

impl<'de, T: Parse<'de>> Parse<'de> for First<T> {
    const EXPECTED: &'static str = "a list";

    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let first = list.next_element()?.unwrap_or_default();
        skip_list(list)?;
        Ok(Some(Self(first)))
    }
}

/// Labels or a selector: names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(pub Vec<(Box<str>, Field<Box<str>>)>);

impl Labels {
    /// The value of a label; empty if it is not text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(key, _)| &**key == name)?;
        Some(value.get().map_or("", |text| text))
    }
}

impl<'de> Parse<'de> for Labels {
    const EXPECTED: &'static str = "a mapping";

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut all = Vec::new();
        while let Some(label) = map.next_entry()? {
            all.push(label);
        }
        Ok(Some(Self(all)))
    }
}

/// Reads a structure from a mapping with its derived `Deserialize`.
pub(super) fn structure<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: A) -> Result<Option<T>, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map)).map(Some)
}

/// Declares objects of the API and their parts: every field may be absent, or of a wrong type. Each object may itself
/// be the value of a [`Field`].
macro_rules! objects {
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$field_about:meta])* pub $field:ident: $type:ty,)*
        }
    )+) => { $(
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl<'de> $crate::api::field::Parse<'de> for $name {
            const EXPECTED: &'static str = "a mapping";

            fn from_map<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
                $crate::api::field::structure(map)
            }
        }
    )+ };
}
pub(super) use objects;
