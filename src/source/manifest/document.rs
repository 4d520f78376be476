//! Reads objects from a document, whatever its format and the order of its keys.
//!
//! The parser reads objects directly into their types. For this, the kind must precede the other keys:
//! `kubectl` and the API server write it early, except in an `EndpointSlice`, which has keys that no
//! other kind has. Only a `spec` or `status` that precedes its `kind` is kept as a generic value until
//! the kind is known. Items of a list are passed on one by one, so that a list of 100,000 objects is
//! never in memory as a whole.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::api::{
    EndpointSlice, Endpoints, Field, Kind, Metadata, Node, Pod, Service, ServiceCidr, Workload,
};

/// A document, or an item of a list.
#[derive(Debug)]
pub(super) struct Document {
    /// `apiVersion`.
    pub api_version: Field<Box<str>>,
    /// `kind`.
    pub kind: Field<Box<str>>,
    /// `message`, which a `Status` has.
    pub message: Field<Box<str>>,
    /// The rest.
    pub body: Body,
}

/// The part of a document that depends on its kind.
#[derive(Debug)]
pub(super) enum Body {
    Service(Box<Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<Pod>),
    Node(Box<Node>),
    ServiceCidr(Box<ServiceCidr>),
    Endpoints(Box<Endpoints>),
    /// An object with a template of Pods.
    Workload(Kind, Box<Workload>),
    /// A kind that does not matter.
    Other,
    /// The kind is missing, or is not text.
    NoKind,
    /// Not a mapping, but a value that this text describes.
    NotAnObject(&'static str),
}

/// Receives objects as they are read: the positions in the lists around an object, and the object.
pub(super) type Sink<'s> = dyn FnMut(&[usize], Document) + 's;

/// Reads one document into a sink.
pub(super) struct DocumentSeed<'a, 's> {
    sink: &'a mut Sink<'s>,
    path: &'a mut Vec<usize>,
    /// `apiVersion` and `kind` for items that lack them, from the list around the items.
    inherited: Option<(&'a Field<Box<str>>, &'a str)>,
    /// Items whose kind is unknown until the list's own `kind` has been read.
    pending: &'a mut Vec<(Vec<usize>, Pending)>,
}

/// Reads a document, and passes every object in it to the sink.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D, sink: &mut Sink<'_>) -> Result<(), D::Error> {
    let mut pending = Vec::new();
    let seed = DocumentSeed { sink, path: &mut Vec::new(), inherited: None, pending: &mut pending };
    seed.deserialize(deserializer)?;
    for (path, item) in pending {
        sink(&path, item.finish(None).map_err(de::Error::custom)?);
    }
    Ok(())
}

/// Keys that matter at the top level of an object.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    ApiVersion,
    Kind,
    Metadata,
    Spec,
    Status,
    AddressType,
    Endpoints,
    Ports,
    Subsets,
    Message,
    Items,
    #[serde(other)]
    Other,
}

/// An object while it is being read.
#[derive(Default)]
pub(super) struct Pending {
    api_version: Field<Box<str>>,
    kind: Field<Box<str>>,
    message: Field<Box<str>>,
    metadata: Field<Metadata>,
    /// The object, once its kind is known.
    body: Option<Body>,
    /// The keys of an `EndpointSlice`, which precede its kind in alphabetical order.
    slice: EndpointSlice,
    /// `subsets`, which only `Endpoints` have.
    endpoints: Endpoints,
    /// `spec` and `status`, if they came before the kind.
    spec: Option<Value>,
    status: Option<Value>,
}

impl Body {
    fn new(kind: &str) -> Self {
        match Kind::from_name(kind) {
            Some(Kind::Service) => Self::Service(Box::default()),
            Some(Kind::EndpointSlice) => Self::EndpointSlice(Box::default()),
            Some(Kind::Pod) => Self::Pod(Box::default()),
            Some(Kind::Node) => Self::Node(Box::default()),
            Some(Kind::ServiceCidr) => Self::ServiceCidr(Box::default()),
            Some(Kind::Endpoints) => Self::Endpoints(Box::default()),
            Some(kind) => Self::Workload(kind, Box::default()),
            None => Self::Other,
        }
    }

    /// The kind and `metadata` of an object that matters.
    pub(super) fn metadata(&mut self) -> Option<(Kind, &mut Field<Metadata>)> {
        Some(match self {
            Self::Service(object) => (Kind::Service, &mut object.metadata),
            Self::EndpointSlice(object) => (Kind::EndpointSlice, &mut object.metadata),
            Self::Pod(object) => (Kind::Pod, &mut object.metadata),
            Self::Node(object) => (Kind::Node, &mut object.metadata),
            Self::ServiceCidr(object) => (Kind::ServiceCidr, &mut object.metadata),
            Self::Endpoints(object) => (Kind::Endpoints, &mut object.metadata),
            Self::Workload(kind, object) => (*kind, &mut object.metadata),
            Self::Other | Self::NoKind | Self::NotAnObject(_) => return None,
        })
    }
}

/// Reads `spec` or `status` into a body whose kind is known.
struct PartSeed<'a> {
    body: &'a mut Body,
    is_spec: bool,
}

impl<'de> DeserializeSeed<'de> for PartSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, part: D) -> Result<(), D::Error> {
        match (self.body, self.is_spec) {
            (Body::Service(object), true) => object.spec = Field::deserialize(part)?,
            (Body::Service(object), false) => object.status = Field::deserialize(part)?,
            (Body::Pod(object), true) => object.spec = Field::deserialize(part)?,
            (Body::Pod(object), false) => object.status = Field::deserialize(part)?,
            (Body::Node(object), true) => object.spec = Field::deserialize(part)?,
            (Body::Node(object), false) => object.status = Field::deserialize(part)?,
            (Body::ServiceCidr(object), true) => object.spec = Field::deserialize(part)?,
            (Body::Workload(_, object), true) => object.spec = Field::deserialize(part)?,
            _ => _ = IgnoredAny::deserialize(part)?,
        }
        Ok(())
    }
}

impl Pending {
    fn set_kind(&mut self, kind: Field<Box<str>>) {
        self.body = kind.get().map(|kind| Body::new(kind));
        self.kind = kind;
    }

    fn read_part<'de, A: MapAccess<'de>>(&mut self, is_spec: bool, map: &mut A) -> Result<(), A::Error> {
        let early = if is_spec { &mut self.spec } else { &mut self.status };
        match &mut self.body {
            Some(body) => map.next_value_seed(PartSeed { body, is_spec })?,
            None => *early = Some(map.next_value()?),
        }
        Ok(())
    }

    /// The object; `inherited` are `apiVersion` and `kind` from the list around it.
    fn finish(mut self, inherited: Option<(&Field<Box<str>>, &str)>) -> Result<Document, serde_json::Error> {
        if let (Some((api_version, kind)), true) = (inherited, self.kind.is_absent()) {
            self.set_kind(Field::Value(kind.into()));
            if self.api_version.is_absent() {
                self.api_version = api_version.clone();
            }
        }
        let mut body = self.body.unwrap_or(Body::NoKind);
        for (is_spec, part) in [(true, self.spec), (false, self.status)] {
            if let Some(part) = part {
                PartSeed { body: &mut body, is_spec }.deserialize(part)?;
            }
        }
        match &mut body {
            Body::EndpointSlice(object) => **object = self.slice,
            Body::Endpoints(object) => **object = self.endpoints,
            _ => {}
        }
        if let Some((_, metadata)) = body.metadata() {
            *metadata = self.metadata;
        }
        Ok(Document { api_version: self.api_version, kind: self.kind, message: self.message, body })
    }
}

/// The kind of the items of a list of this kind: `ServiceList` holds Services, `List` anything.
fn item_kind(list_kind: &str) -> Option<&str> {
    list_kind.strip_suffix("List").filter(|kind| !kind.is_empty())
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl DocumentSeed<'_, '_> {
    fn emit_wrong(self, found: &'static str) {
        let body = Body::NotAnObject(found);
        let (api_version, kind, message) = (Field::Absent, Field::Absent, Field::Absent);
        (self.sink)(self.path, Document { api_version, kind, message, body });
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Kubernetes object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { sink, path, inherited, pending } = self;
        let mut object = Pending::default();
        let mut is_list = false;
        let unknown_from = pending.len();
        while let Some(key) = map.next_key()? {
            match key {
                Key::ApiVersion => object.api_version = map.next_value()?,
                Key::Kind => object.set_kind(map.next_value()?),
                Key::Metadata => object.metadata = map.next_value()?,
                Key::Spec => object.read_part(true, &mut map)?,
                Key::Status => object.read_part(false, &mut map)?,
                Key::AddressType => object.slice.address_type = map.next_value()?,
                Key::Endpoints => object.slice.endpoints = map.next_value()?,
                Key::Ports => object.slice.ports = map.next_value()?,
                Key::Subsets => object.endpoints.subsets = map.next_value()?,
                Key::Message => object.message = map.next_value()?,
                // An object that is not a list, but has a key `items`.
                Key::Items if object.kind.get().is_some_and(|kind| !kind.ends_with("List")) => {
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Items => {
                    is_list = true;
                    let kind = object.kind.get().and_then(|kind| item_kind(kind));
                    let inherited = kind.map(|kind| (&object.api_version, kind));
                    map.next_value_seed(ItemsSeed(DocumentSeed { sink, path, inherited, pending }))?;
                }
                Key::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        if is_list && object.kind.get().is_none_or(|kind| kind.ends_with("List")) {
            let kind = object.kind.get().and_then(|kind| item_kind(kind));
            let Some(kind) = kind else { return Ok(()) };
            for (path, item) in pending.split_off(unknown_from) {
                let item = item.finish(Some((&object.api_version, kind))).map_err(de::Error::custom)?;
                sink(&path, item);
            }
            return Ok(());
        }
        if object.kind.is_absent() && inherited.is_none() && !path.is_empty() {
            pending.push((path.clone(), object));
            return Ok(());
        }
        sink(path, object.finish(inherited).map_err(de::Error::custom)?);
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        // A document that has only comments, or an empty document between two separators.
        if !self.path.is_empty() {
            self.emit_wrong("nothing");
        }
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.emit_wrong("a boolean");
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.emit_wrong("a number");
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.emit_wrong("a number");
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.emit_wrong("a number");
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.emit_wrong("text");
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.emit_wrong("a list");
        Ok(())
    }
}

/// Reads the `items` of a list.
struct ItemsSeed<'a, 's>(DocumentSeed<'a, 's>);

impl<'de> DeserializeSeed<'de> for ItemsSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ItemsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of Kubernetes objects")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(DocumentSeed { sink, path, inherited, pending }) = self;
        for i in 0.. {
            path.push(i);
            let seed = DocumentSeed { sink, path, inherited, pending };
            let next = list.next_element_seed(seed)?;
            path.pop();
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }
}
