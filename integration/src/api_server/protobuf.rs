//! Objects in Kubernetes' protobuf encoding, as Go's API server writes them.

mod schema;

use portolan::api::protobuf::MAGIC;
use serde_json::Value;

use self::schema::{Field, LIST_META, STATUS, Schema};
use super::Resource;

/// The end of a document: an empty content encoding and content type.
const END: &[u8] = &[0x1a, 0, 0x22, 0];

/// The encoding of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Protobuf,
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// `string`.
    Text,
    /// `int32` or `int64`.
    Integer,
    /// `bool`.
    Boolean,
    /// A message with these fields.
    Message(Schema),
    /// `map<string, string>`.
    Texts,
    /// `Time`: in JSON, an RFC 3339 text.
    Time,
    /// `IntOrString`: in JSON a number or a text.
    NumberOrText,
    /// `FieldsV1`, which holds JSON.
    Json,
}

/// An item of a list.
pub(super) fn item(object: &[u8]) -> Vec<u8> {
    bytes(2, object)
}

/// The length of an item of a list, given the length of its object.
pub(super) fn item_length(object: usize) -> usize {
    1 + varint(object as u64).len() + object
}

/// The bytes before and after the items of a list; `length` is the total length of the items.
pub(super) fn around_items(kind: &str, version: &str, metadata: &Value, length: usize) -> [Vec<u8>; 2] {
    let metadata = bytes(1, &message(metadata, LIST_META));
    let length = varint((metadata.len() + length) as u64);
    [[MAGIC, &types(kind, version), &key(2), &length, &metadata].concat(), END.to_vec()]
}

/// A `Status`.
pub(super) fn status(status: &Value) -> Vec<u8> {
    document(status, &message(status, STATUS))
}

/// An object, or a `Status`, without its kind and version.
pub(super) fn bare(resource: Resource, object: &Value) -> Vec<u8> {
    message(object, if object["kind"] == "Status" { STATUS } else { schema::of(resource) })
}

/// An event of a watch, after its length.
pub(super) fn event(kind: &str, document: &[u8]) -> Vec<u8> {
    let event = [bytes(1, kind.as_bytes()), bytes(2, &bytes(1, document))].concat();
    [&(event.len() as u32).to_be_bytes()[..], &event].concat()
}

/// The document of an object, with its kind and version.
pub(super) fn document(object: &Value, encoded: &[u8]) -> Vec<u8> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    [MAGIC, &types(text("kind"), text("apiVersion")), &bytes(2, encoded), END].concat()
}

/// The kind and version of a document.
fn types(kind: &str, version: &str) -> Vec<u8> {
    bytes(1, &[bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat())
}

fn message(object: &Value, schema: Schema) -> Vec<u8> {
    let mut encoded = Vec::new();
    for field in schema {
        match &object[field.name] {
            Value::Null if !field.is_always => {}
            Value::Array(all) if field.is_repeated => {
                encoded.extend(all.iter().flat_map(|value| value_of(field, value)));
            }
            Value::Object(entries) if matches!(field.kind, Kind::Texts) => {
                for (key, value) in entries {
                    let value = value.as_str().unwrap_or_default();
                    let entry = [bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat();
                    encoded.extend(bytes(field.number, &entry));
                }
            }
            value => encoded.extend(value_of(field, value)),
        }
    }
    encoded
}

fn value_of(field: &Field, value: &Value) -> Vec<u8> {
    let Field { number, name, kind, .. } = *field;
    let text = || match value {
        Value::Null => "",
        value => value.as_str().unwrap_or_else(|| panic!("{name} is {value}")),
    };
    let integer = || match value {
        Value::Null => 0,
        value => value.as_i64().unwrap_or_else(|| panic!("{name} is {value}")).cast_unsigned(),
    };
    match kind {
        Kind::Text => bytes(number, text().as_bytes()),
        Kind::Integer => integer_of(number, integer()),
        Kind::Boolean => integer_of(number, u64::from(value == &Value::Bool(true))),
        Kind::Message(schema) => bytes(number, &message(value, schema)),
        Kind::Time if value.is_null() => bytes(number, b""),
        Kind::Time => {
            let time: jiff::Timestamp = text().parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            bytes(number, &[integer_of(1, time.as_second().cast_unsigned()), integer_of(2, 0)].concat())
        }
        Kind::NumberOrText if value.is_string() => {
            bytes(number, &[integer_of(1, 1), integer_of(2, 0), bytes(3, text().as_bytes())].concat())
        }
        Kind::NumberOrText => {
            bytes(number, &[integer_of(1, 0), integer_of(2, integer()), bytes(3, b"")].concat())
        }
        Kind::Json => bytes(number, &bytes(1, value.to_string().as_bytes())),
        Kind::Texts => panic!("{name} is {value}"),
    }
}

fn integer_of(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn bytes(field: u32, value: &[u8]) -> Vec<u8> {
    [&key(field), &varint(value.len() as u64), value].concat()
}

/// The key of a field with a length.
fn key(field: u32) -> Vec<u8> {
    varint(u64::from(field) << 3 | 2)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    while value > 0x7f {
        encoded.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    encoded.push(value as u8);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recording;

    /// Byte for byte what a real server wrote, for objects that it has also written in JSON.
    #[test]
    fn objects_are_encoded_as_by_a_real_server() {
        let json = Recording::named("list-json").json().unwrap();
        let recorded = Recording::named("list-protobuf").bytes();
        for item in json["items"].as_array().unwrap() {
            let encoded = message(item, schema::of(Resource::Services));
            let is_there = recorded.windows(encoded.len()).any(|part| part == encoded);
            assert!(is_there, "{item}");
        }
    }
}
