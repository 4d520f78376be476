//! An object as it is stored, and as it is sent.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde_json::{Map, Value};

use super::{
    Resource,
    protobuf::{self, Encoding},
};

/// An object. Once it was sent, its encoding is kept, as in a real server.
#[derive(Debug)]
pub(super) struct Object {
    value: Value,
    json: OnceLock<Vec<u8>>,
    protobuf: OnceLock<Vec<u8>>,
}

impl Object {
    pub fn new(value: Value) -> Arc<Self> {
        Arc::new(Self { value, json: OnceLock::new(), protobuf: OnceLock::new() })
    }

    /// The encoded object without its kind and version, as in the items of a list.
    pub fn bare(&self, resource: Resource, encoding: Encoding) -> &[u8] {
        match encoding {
            Encoding::Json => self.json.get_or_init(|| self.fields(false).to_string().into_bytes()),
            Encoding::Protobuf => self.protobuf.get_or_init(|| protobuf::bare(resource, &self.value)),
        }
    }

    /// The encoded object.
    fn whole(&self, resource: Resource, encoding: Encoding) -> Vec<u8> {
        let bare = self.bare(resource, encoding);
        match encoding {
            Encoding::Protobuf => protobuf::document(&self.value, bare),
            Encoding::Json => {
                let types = self.fields(true).to_string();
                [types.trim_end_matches('}').as_bytes(), b",", &bare[1..]].concat()
            }
        }
    }

    /// The kind and version, or all other fields.
    fn fields(&self, types: bool) -> Value {
        let fields = self.value.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| matches!(name.as_str(), "apiVersion" | "kind") == types);
        fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
    }
}

impl Deref for Object {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

/// An event of a watch.
#[derive(Debug, Clone)]
pub(super) struct WatchEvent {
    pub kind: &'static str,
    pub object: Arc<Object>,
}

impl WatchEvent {
    pub fn new(kind: &'static str, object: Value) -> Self {
        Self { kind, object: Object::new(object) }
    }

    /// The encoded event.
    pub fn encoded(&self, resource: Resource, encoding: Encoding) -> Vec<u8> {
        let object = self.object.whole(resource, encoding);
        match encoding {
            Encoding::Json => {
                let head = format!("{{\"type\":\"{}\",\"object\":", self.kind);
                [head.as_bytes(), &object, b"}\n"].concat()
            }
            Encoding::Protobuf => protobuf::event(self.kind, &object),
        }
    }
}
