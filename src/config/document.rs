//! The YAML or JSON text of a configuration file, as a tree of values with their lines.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde_json::Value as Json;
use serde_saphyr::{Budget, DuplicateKeyPolicy, Options, Spanned};

/// A value and the line where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: u64,
    pub value: Value,
}

/// A value with the type that the text shows: a number in quotes is a text, as for kube-proxy's decoder.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Scalar(Json),
    List(Vec<Node>),
    Mapping(Mapping),
}

/// Keys in order, with their lines; a key may occur twice.
pub(super) type Mapping = Vec<(Spanned<String>, Node)>;

impl Node {
    /// The value, if it is a text.
    pub fn as_text(&self) -> Option<&str> {
        if let Value::Scalar(value) = &self.value { value.as_str() } else { None }
    }

    /// The value of a text field of a mapping.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_text()
    }

    /// The value of a field of a mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The key and value of a field of a mapping. The last counts if there are several.
    pub fn entry(&self, key: &str) -> Option<&(Spanned<String>, Self)> {
        match &self.value {
            Value::Mapping(fields) => fields.iter().rev().find(|(name, _)| name.value == key),
            _ => None,
        }
    }
}

/// Reads all documents of a text except the empty ones. The error is the line, if it is known, and what is wrong.
pub(super) fn read(text: &str) -> Result<Vec<Node>, (Option<u64>, String)> {
    let mut options = Options::default();
    options.underscored_numbers_as_strings = true;
    options.leading_zero_numbers_as_strings = true;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    let mut budget = Budget::default();
    budget.max_depth = 32;
    options.budget = Some(budget);
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let message = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        (line, format!("is not valid YAML: {message}"))
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Scalar(Json::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Scalar(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(entries)).map(Value::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut mapping = Mapping::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Value::Mapping(mapping))
    }
}
