//! How keys and values of the maps are written and read. A key begins with a frontend; the number of a slot or of an
//! attribute, or an endpoint id, may follow.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use crate::{
    frontends::FrontendKey,
    model::Protocol,
    ruleset::{ClassId, Concat, DataType, Element, ElementData, Family, Name, Table, Value},
};

use super::sets::SetName;

/// How a frontend is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// By destination address, protocol and port.
    Address,
    /// By protocol and port, on the node's own addresses.
    NodePort,
}

impl Keys {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Address, Self::NodePort];

    /// How a frontend is recognised.
    pub const fn of(frontend: &FrontendKey) -> Self {
        match frontend {
            FrontendKey::Address(..) => Self::Address,
            FrontendKey::NodePort(..) => Self::NodePort,
        }
    }

    /// The map that leads from a frontend to its class.
    pub const fn classes(self) -> SetName {
        match self {
            Self::Address => SetName::Frontends,
            Self::NodePort => SetName::NodePorts,
        }
    }

    /// The map of attributes, which only some frontends have.
    pub const fn attributes(self) -> SetName {
        match self {
            Self::Address => SetName::Attributes,
            Self::NodePort => SetName::NodePortAttributes,
        }
    }

    /// The map that leads from a frontend and a slot, or an endpoint id, to an endpoint.
    pub const fn endpoints(self) -> SetName {
        match self {
            Self::Address => SetName::Endpoints,
            Self::NodePort => SetName::NodeEndpoints,
        }
    }
}

impl FrontendKey {
    /// The key in the class map.
    pub fn concat(&self) -> Concat {
        match *self {
            Self::Address(address, protocol, port) => {
                Concat::new(&[address.into(), protocol.into(), Value::Port(port)])
            }
            Self::NodePort(_, protocol, port) => Concat::new(&[protocol.into(), Value::Port(port)]),
        }
    }

    /// Reads the key of an element of the class map, or of the endpoint map without its slot.
    pub fn from_values(family: Family, values: &[Value]) -> Option<Self> {
        match *values {
            [address, Value::Proto(protocol), Value::Port(port)] => {
                Some(Self::Address(address.address()?, Protocol::from_number(protocol)?, port))
            }
            [Value::Proto(protocol), Value::Port(port)] => {
                Some(Self::NodePort(family, Protocol::from_number(protocol)?, port))
            }
            _ => None,
        }
    }

    /// Reads the key of an element of the endpoint map: the frontend, and its slot or endpoint id.
    pub fn from_slot(family: Family, types: &[DataType], key: &Concat) -> Option<(Self, u32)> {
        let values = key.values(types)?;
        let (Value::Class(slot), frontend) = values.split_last()? else { return None };
        Some((Self::from_values(family, frontend)?, slot.0))
    }

    /// The key in the endpoint map, or of an attribute.
    pub fn slot(&self, slot: u32) -> Concat {
        self.concat().with(ClassId(slot).into())
    }
}

impl Table {
    /// The frontends, those at addresses first, each with its element in the class map.
    pub fn frontends(&self, family: Family) -> impl Iterator<Item = (FrontendKey, &Element)> {
        let sets = Keys::ALL.into_iter().filter_map(|keys| self.sets.get(keys.classes().name()));
        sets.flat_map(move |set| {
            let frontend = move |key: &Concat| FrontendKey::from_values(family, &key.values(&set.key)?);
            set.elements.iter().filter_map(move |(key, element)| Some((frontend(key)?, element)))
        })
    }

    /// The node's addresses that answer node ports.
    pub fn node_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let set = self.sets.get(SetName::NodeAddresses.name());
        let address = |(set, key): (&[DataType], &Concat)| key.values(set)?.first()?.address();
        set.into_iter().flat_map(|set| set.elements.keys().map(|key| (&*set.key, key))).filter_map(address)
    }

    /// The chain that each class leads to, by the class's number.
    pub fn class_chains(&self) -> BTreeMap<u32, &Name> {
        let classes = self.sets.get(SetName::Classes.name()).into_iter().flat_map(|set| &set.elements);
        let numbered = classes.filter_map(|(key, element)| {
            let class = number_from_value(&ElementData::Value(key.clone()))?;
            Some((class.0, element.target()?))
        });
        numbered.collect()
    }
}

/// The value of an endpoint in the endpoint maps: address and port.
pub fn endpoint_value(endpoint: SocketAddr) -> Concat {
    Concat::new(&[endpoint.ip().into(), Value::Port(endpoint.port())])
}

/// Reads the value of an element of an endpoint map: address and port.
pub fn endpoint_from_value(family: Family, value: &Concat) -> Option<SocketAddr> {
    match *value.values(&[family.address_type(), DataType::InetService])?.as_slice() {
        [address, Value::Port(port)] => Some((address.address()?, port).into()),
        _ => None,
    }
}

/// Reads the value of an element of a map of classes or attributes: a number.
pub fn number_from_value(data: &ElementData) -> Option<ClassId> {
    let ElementData::Value(value) = data else { return None };
    let Value::Class(number) = Value::read(DataType::ClassId, value.as_bytes())? else { return None };
    Some(number)
}

/// Bit of a slot number that is set for the slots of policy `Local`, and not for those of policy `Cluster`.
pub const LOCAL_SLOTS: u32 = 1 << 31;

/// Numbers of the attributes that a frontend may have.
pub mod attribute {
    /// The class for pods and this node, under policy Local.
    pub const DIRECT: u32 = 1;
    /// The port number of the ServicePort, with session affinity.
    pub const PORT_NUMBER: u32 = 2;
    /// The class that draws among the endpoints of policy Cluster, with session affinity.
    pub const DRAW: u32 = 3;
    /// The class that draws among the endpoints of policy Local.
    pub const LOCAL_DRAW: u32 = 4;
    /// From here on, the id of the endpoint at each slot of policy Cluster.
    pub const SLOTS: u32 = 1 << 16;
    /// The same for policy Local.
    pub const LOCAL_SLOTS: u32 = super::LOCAL_SLOTS | SLOTS;
}

/// Bits of an endpoint id that hold the port number of the ServicePort.
pub const PORT_MASK: u32 = 0x7fff_0000;
/// Bits of an endpoint id that hold the endpoint's own number; never all zero.
pub const ENDPOINT_MASK: u32 = 0xffff;

/// For the key of an endpoint at its endpoint id, the map and key of the attribute of the first slot that leads to
/// endpoint ids.
pub fn first_slot(set: SetName, key: &Concat) -> Option<(SetName, Concat)> {
    let attributes = attributes_of(set)?;
    let (frontend, number) = split(key).filter(|(_, number)| (number & !LOCAL_SLOTS) >> 16 != 0)?;
    let slot = ClassId(attribute::SLOTS | number & LOCAL_SLOTS);
    Some((attributes, Concat::from_bytes(frontend).with(slot.into())))
}

/// Whether this is the key of the attribute of a first slot ([`first_slot`]).
pub fn is_first_slot(set: SetName, key: &Concat) -> bool {
    is_of_attributes(set) && split(key).is_some_and(|(_, number)| number & !LOCAL_SLOTS == attribute::SLOTS)
}

/// Splits a key into the number at its end and the bytes before it.
fn split(key: &Concat) -> Option<(&[u8], u32)> {
    let (rest, number) = key.as_bytes().split_last_chunk()?;
    Some((rest, u32::from_ne_bytes(*number)))
}

/// The key of the endpoint whose id an attribute holds.
pub fn endpoint_id_key(key: &Concat, data: &ElementData) -> Option<Concat> {
    let (frontend, number) = split(key)?;
    let id = number_from_value(data)?;
    let list = number & !0xffff;
    let is_slot = list == attribute::SLOTS || list == attribute::LOCAL_SLOTS;
    let number = ClassId(id.0 | number & LOCAL_SLOTS);
    is_slot.then(|| Concat::from_bytes(frontend).with(number.into()))
}

/// The frontend in the key of an attribute, if its value is a class.
pub fn frontend_of_class(key: &Concat) -> Option<&[u8]> {
    let (frontend, number) = split(key)?;
    matches!(number, attribute::DIRECT | attribute::DRAW | attribute::LOCAL_DRAW).then_some(frontend)
}

/// The map of classes that belongs to a map of endpoints.
pub fn classes_of(endpoints: SetName) -> Option<SetName> {
    Keys::ALL.into_iter().find(|keys| keys.endpoints() == endpoints).map(Keys::classes)
}

/// Whether packets reach the elements of this set only through elements of another set, which determine the keys in
/// use: packets meet no other element of this set.
pub fn has_leaders(set: SetName) -> bool {
    classes_of(set).is_some()
}

/// Whether a set is a map of attributes.
pub fn is_of_attributes(set: SetName) -> bool {
    Keys::ALL.into_iter().any(|keys| keys.attributes() == set)
}

/// The map of attributes that belongs to a map of endpoints.
pub fn attributes_of(endpoints: SetName) -> Option<SetName> {
    Keys::ALL.into_iter().find(|keys| keys.endpoints() == endpoints).map(Keys::attributes)
}
