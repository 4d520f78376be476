//! Objects as Kubernetes encodes them in protobuf, read by the same `Deserialize` as JSON.
//!
//! A schema gives the fields that matter their names in JSON, so that there is one set of types and one conversion for
//! both. All other fields are skipped in place; only data that is kept is copied. Empty text and zeros are left out, as
//! in JSON. A library would first read every field into its own messages.

mod schema;
#[cfg(test)]
mod tests;
mod wire;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{BorrowedStrDeserializer, Error, MapAccessDeserializer},
    },
    forward_to_deserialize_any,
};

use super::metadata::Label;

pub use self::{
    schema::{
        ENDPOINT_SLICE, Field, Kind, LIST_META, NODE, OBJECT_META, SERVICE, SERVICE_CIDR, STATUS, Schema,
    },
    wire::{Value, Wire},
};

/// The media type of documents. The media type of watches has an additional parameter.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The first bytes of a document.
pub const MAGIC: &[u8] = b"k8s\0";

/// Reads a message.
///
/// # Errors
/// The bytes are not a message of this schema.
pub fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], schema: Schema) -> Result<T, Error> {
    T::deserialize(MapAccessDeserializer::new(Fields::new(bytes, schema)))
}

/// A document (`runtime.Unknown`): the kind of its object, and the object.
///
/// # Errors
/// The bytes are not such a document.
pub fn document(bytes: &[u8]) -> Result<(&str, &[u8]), Error> {
    let body = bytes.strip_prefix(MAGIC).ok_or_else(|| Error::custom("it does not begin with \"k8s\\0\""))?;
    Ok((type_kind(bytes_of(body, 1)?)?, bytes_of(body, 2)?))
}

/// `kind` in a `TypeMeta`.
///
/// # Errors
/// The bytes are not such a message.
pub fn type_kind(types: &[u8]) -> Result<&str, Error> {
    text(bytes_of(types, 2)?)
}

/// An event of a watch: its type and its object, a document.
///
/// # Errors
/// The bytes are not such an event.
pub fn event(bytes: &[u8]) -> Result<(&str, &[u8]), Error> {
    Ok((text(bytes_of(bytes, 1)?)?, bytes_of(bytes_of(bytes, 2)?, 1)?))
}

/// The value of this field in a message; the last value if there are several.
fn last(message: &[u8], number: u32) -> Result<Option<Value<'_>>, Error> {
    let of_number = |field: &Result<_, _>| field.as_ref().map_or(true, |(at, _)| *at == number);
    let mut found = None;
    for field in Wire::new(message).filter(of_number) {
        found = Some(field?.1);
    }
    Ok(found)
}

/// The value of a field that is text, bytes or a message; empty if the field is missing.
fn bytes_of(message: &[u8], number: u32) -> Result<&[u8], Error> {
    Ok(if let Some(Value::Bytes(bytes)) = last(message, number)? { bytes } else { &[] })
}

/// The value of a field that is a number; 0 if the field is missing.
fn number_of(message: &[u8], number: u32) -> Result<i64, Error> {
    Ok(if let Some(Value::Number(value)) = last(message, number)? { value.cast_signed() } else { 0 })
}

fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(Error::custom)
}

/// The fields of a message.
struct Fields<'de> {
    rest: Wire<'de>,
    schema: Schema,
    /// Which repeated fields have been read, as bits by their place in the schema.
    seen: u64,
    current: Option<Element<'de>>,
}

impl<'de> Fields<'de> {
    const fn new(message: &'de [u8], schema: Schema) -> Self {
        Self { rest: Wire::new(message), schema, seen: 0, current: None }
    }
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while let Some(field) = self.rest.next() {
            let (number, value) = field?;
            let Some(place) = self.schema.iter().position(|field| field.number == number) else { continue };
            let field = &self.schema[place];
            let is_empty = matches!(
                (field.kind, value),
                (Kind::Text | Kind::Time, Value::Bytes([])) | (Kind::Integer, Value::Number(0))
            );
            // The first value of a repeated field stands for all of its values.
            let is_done = if field.is_repeated { self.seen & (1 << place) != 0 } else { is_empty };
            if is_done {
                continue;
            }
            self.seen |= 1 << place;
            let all = field.is_repeated.then(|| self.rest.clone());
            self.current = Some(Element { value, field, others: all });
            return seed.deserialize(field.name.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let element = self.current.take().ok_or_else(|| Error::custom("a value without a name"))?;
        seed.deserialize(element)
    }
}

/// The value of a field; for a repeated field, the first value and where the others are.
struct Element<'de> {
    value: Value<'de>,
    field: &'static Field,
    others: Option<Wire<'de>>,
}

impl<'de> Deserializer<'de> for Element<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Self { value, field, others } = self;
        if let Some(rest) = others {
            let elements = Elements { next: Some(value), rest, field };
            return match field.kind {
                Kind::Texts | Kind::Labels => visitor.visit_map(elements),
                _ => visitor.visit_seq(elements),
            };
        }
        match (field.kind, value) {
            (Kind::Text, Value::Bytes(bytes)) => visitor.visit_borrowed_str(text(bytes)?),
            (Kind::Integer, Value::Number(number)) => visitor.visit_i64(number.cast_signed()),
            (Kind::Boolean, Value::Number(number)) => visitor.visit_bool(number != 0),
            (Kind::Message(schema), Value::Bytes(bytes)) => visitor.visit_map(Fields::new(bytes, schema)),
            (Kind::Time, Value::Bytes(bytes)) => {
                let time = Timestamp::from_second(number_of(bytes, 1)?).map_err(Error::custom)?;
                visitor.visit_string(DateTimePrinter::new().timestamp_to_string(&time))
            }
            (Kind::NumberOrText, Value::Bytes(bytes)) => {
                if number_of(bytes, 1)? == 1 {
                    visitor.visit_borrowed_str(text(bytes_of(bytes, 3)?)?)
                } else {
                    visitor.visit_i64(number_of(bytes, 2)?)
                }
            }
            _ => Err(Error::custom(format_args!("{}: its encoding is not that of its type", field.name))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The values of a repeated field, or the entries of a map.
struct Elements<'de> {
    next: Option<Value<'de>>,
    rest: Wire<'de>,
    field: &'static Field,
}

impl<'de> Elements<'de> {
    fn take(&mut self) -> Result<Option<Value<'de>>, Error> {
        if let Some(value) = self.next.take() {
            return Ok(Some(value));
        }
        for field in self.rest.by_ref() {
            let (number, value) = field?;
            if number == self.field.number {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let field = self.field;
        let value = self.take()?;
        value.map(|value| seed.deserialize(Element { value, field, others: None })).transpose()
    }
}

impl<'de> MapAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while let Some(entry) = self.take()? {
            let Value::Bytes(entry) = entry else {
                return Err(Error::custom("an entry of a map is a number"));
            };
            let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
            for field in Wire::new(entry) {
                match field? {
                    (1, Value::Bytes(bytes)) => key = bytes,
                    (2, Value::Bytes(bytes)) => value = bytes,
                    _ => {}
                }
            }
            let key = text(key)?;
            if !matches!(self.field.kind, Kind::Labels) || Label::from_name(key).is_some() {
                self.next = Some(Value::Bytes(value));
                return seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.next.take() {
            Some(Value::Bytes(value)) => seed.deserialize(text(value)?.into_deserializer()),
            _ => Err(Error::custom("a value without a name")),
        }
    }
}
