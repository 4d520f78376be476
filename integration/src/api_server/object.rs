//! An object as it is stored, and as it is sent.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::{
    Resource,
    protobuf::{self, Encoding},
};

/// An object. Once it was sent, what it is on the wire is kept, as by a real server.
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

    /// The object on the wire.
    fn encoded(&self, resource: Resource, encoding: Encoding) -> &[u8] {
        match encoding {
            Encoding::Json => self.json.get_or_init(|| self.value.to_string().into_bytes()),
            Encoding::Protobuf => self.protobuf.get_or_init(|| protobuf::object(resource, &self.value)),
        }
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
pub(super) struct Event {
    pub kind: &'static str,
    pub object: Arc<Object>,
}

impl Event {
    pub fn new(kind: &'static str, object: Value) -> Self {
        Self { kind, object: Object::new(object) }
    }

    /// The event on the wire.
    pub fn encoded(&self, resource: Resource, encoding: Encoding) -> Vec<u8> {
        let object = self.object.encoded(resource, encoding);
        match encoding {
            Encoding::Json => {
                let head = format!("{{\"type\":\"{}\",\"object\":", self.kind);
                [head.as_bytes(), object, b"}\n"].concat()
            }
            Encoding::Protobuf => protobuf::event(self.kind, object),
        }
    }
}
