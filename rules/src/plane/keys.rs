//! How keys of the maps are made and read: a frontend, and the number of a slot or of an attribute.

use crate::{
    frontends::FrontendKey,
    ruleset::{ClassId, Concat, DataType, ElementData, Value},
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

    /// The map that leads from a frontend to its class.
    pub const fn classes(self) -> SetName {
        match self {
            Self::Address => SetName::Frontends,
            Self::NodePort => SetName::NodePorts,
        }
    }

    /// The map that holds what only some frontends have.
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
    /// How it is recognised.
    const fn keys(&self) -> Keys {
        match self {
            Self::Address(..) => Keys::Address,
            Self::NodePort(..) => Keys::NodePort,
        }
    }

    /// The map that leads from the frontend to its class.
    pub const fn class_map(&self) -> SetName {
        self.keys().classes()
    }

    /// The map that leads from the frontend and a slot to an endpoint.
    pub const fn endpoint_map(&self) -> SetName {
        self.keys().endpoints()
    }

    /// The map that holds what only some frontends have.
    pub const fn attribute_map(&self) -> SetName {
        self.keys().attributes()
    }
}

/// Bit of a slot number that tells the slots of policy `Local` from those of policy `Cluster`.
pub const LOCAL_SLOTS: u32 = 1 << 31;

/// Numbers of the attributes that a frontend may have.
pub mod attribute {
    /// The class for pods and this node, under policy Local.
    pub const DIRECT: u32 = 1;
    /// The number of the ServicePort, with session affinity.
    pub const STICKY: u32 = 2;
    /// The class that draws among the endpoints of policy Cluster, with session affinity.
    pub const DRAW: u32 = 3;
    /// The class that draws among those of policy Local.
    pub const LOCAL_DRAW: u32 = 4;
    /// From here on, the lasting number of the endpoint at each slot of policy Cluster.
    pub const SLOTS: u32 = 1 << 16;
    /// The same for policy Local.
    pub const LOCAL_SLOTS: u32 = super::LOCAL_SLOTS | SLOTS;
}

/// Bits of a lasting number that tell the ServicePort.
pub const PORT_MASK: u32 = 0x7fff_0000;
/// Bits of a lasting number that tell the endpoint; never all zero.
pub const ENDPOINT_MASK: u32 = 0xffff;

/// Of an endpoint that stands at its lasting number, the attribute of the first slot that leads to such numbers.
pub fn first_slot(set: SetName, key: &Concat) -> Option<(SetName, Concat)> {
    let attributes = attributes_of(set)?;
    let (frontend, number) = split(key).filter(|_| is_lasting(key))?;
    let slot = ClassId(attribute::SLOTS | number & LOCAL_SLOTS);
    Some((attributes, Concat::from_bytes(frontend).with(slot.into())))
}

/// Whether this is the key of such an attribute.
pub fn is_first_slot(set: SetName, key: &Concat) -> bool {
    Keys::ALL.iter().any(|keys| keys.attributes() == set)
        && split(key).is_some_and(|(_, number)| number & !LOCAL_SLOTS == attribute::SLOTS)
}

/// The number at the end of a key, and what stands before it.
fn split(key: &Concat) -> Option<(&[u8], u32)> {
    let (rest, number) = key.as_bytes().split_last_chunk()?;
    Some((rest, u32::from_ne_bytes(*number)))
}

/// Whether an endpoint stands there by its lasting number, rather than at a slot.
pub fn is_lasting(key: &Concat) -> bool {
    split(key).is_some_and(|(_, number)| (number & !LOCAL_SLOTS) >> 16 != 0)
}

/// The key of the endpoint whose lasting number an attribute tells.
pub fn lasting(key: &Concat, data: &ElementData) -> Option<Concat> {
    let (frontend, number) = split(key)?;
    let ElementData::Value(value) = data else { return None };
    let Value::Class(lasting) = Value::read(DataType::ClassId, value.as_bytes())? else { return None };
    let list = number & !0xffff;
    let is_slot = list == attribute::SLOTS || list == attribute::LOCAL_SLOTS;
    let number = ClassId(lasting.0 | number & LOCAL_SLOTS);
    is_slot.then(|| Concat::from_bytes(frontend).with(number.into()))
}

/// The map of attributes beside a map of endpoints.
pub fn attributes_of(endpoints: SetName) -> Option<SetName> {
    Keys::ALL.into_iter().find(|keys| keys.endpoints() == endpoints).map(Keys::attributes)
}
