//! Expressions and lookups.

use std::net::IpAddr;

use super::{
    jhash::{jhash, scale},
    outcome::{Action, Effect},
    walk::{Course, Nat, Stop},
};
use crate::ruleset::{BitOp, ClassId, Concat, DataType, ElementData, Expression, Field, Name, Set, Value};

/// `RTN_LOCAL` and other routing types of the kernel.
pub(super) const RTN_LOCAL: u32 = 2;
const RTN_UNICAST: u32 = 1;
const RTN_BROADCAST: u32 = 3;
const RTN_MULTICAST: u32 = 5;

/// `IPS_DST_NAT`, the only bit of a connection's state that the simulator keeps.
pub(super) const IPS_DST_NAT: u32 = 0x20;

/// `IFNAMSIZ`.
const INTERFACE_NAME: usize = 16;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoValue {
    /// A test failed or a lookup missed: the rule ends.
    Miss,
    /// The expression or statement has no meaning, for this reason.
    Unknown(&'static str),
    /// The course cannot go on.
    Stop(Stop),
}

impl From<Stop> for NoValue {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl<'a> Course<'_, 'a> {
    /// The value of an expression, as the kernel's registers would hold it.
    pub(super) fn evaluate(&mut self, expression: &Expression) -> Result<Concat, NoValue> {
        match expression {
            Expression::Field(field) => Ok(self.field(*field)),
            Expression::Constant(number) => Ok(word(*number)),
            Expression::Concat(parts) => {
                let mut bytes = Vec::new();
                for part in parts {
                    bytes.extend_from_slice(self.evaluate(part)?.as_bytes());
                }
                Ok(Concat::from_bytes(&bytes))
            }
            Expression::Lookup { key, map } => {
                let key = self.evaluate(key)?;
                match self.find(map, &key)?.ok_or(NoValue::Miss)? {
                    ElementData::Value(data) => Ok(data),
                    _ => Err(NoValue::Unknown("the map holds no values")),
                }
            }
            Expression::Random { modulus, offset } => Ok(word(self.draw(*modulus)?.wrapping_add(*offset))),
            Expression::Hash { key, modulus, seed, offset } => {
                let bytes = self.evaluate(key)?;
                let bytes = bytes.as_bytes();
                let hashed = bytes.split_at_checked(hashed_length(key)).map_or(bytes, |(start, _)| start);
                Ok(word(scale(jhash(hashed, *seed), *modulus).wrapping_add(*offset)))
            }
            Expression::Bitwise { op, left, right } => {
                let left = self.number(left)?;
                Ok(word(match op {
                    BitOp::And => left & right,
                    BitOp::Or => left | right,
                    BitOp::Xor => left ^ right,
                }))
            }
        }
    }

    /// The value of an expression that is a 32-bit number.
    pub(super) fn number(&mut self, expression: &Expression) -> Result<u32, NoValue> {
        as_number(self.evaluate(expression)?.as_bytes())
    }

    fn field(&self, field: Field) -> Concat {
        let flow = &self.flow;
        let address = |address: IpAddr| Concat::new(&[address.into()]);
        match field {
            Field::SourceAddress => address(flow.source),
            Field::DestinationAddress => address(flow.destination),
            Field::L4Proto => Concat::new(&[Value::Proto(flow.protocol)]),
            Field::DestinationPort => Concat::new(&[Value::Port(flow.destination_port)]),
            Field::Priority => word(flow.priority),
            Field::Mark => word(flow.mark),
            Field::InputInterface => {
                // Without an interface the name is empty. The rest of the register is zero.
                let name = flow.interface.as_deref().unwrap_or_default().as_bytes();
                let mut register = [0; INTERFACE_NAME];
                for (to, from) in register.iter_mut().zip(name.iter().take(INTERFACE_NAME - 1)) {
                    *to = *from;
                }
                Concat::from_bytes(&register)
            }
            Field::ConntrackStatus => {
                word(if flow.destination_nat == Nat::Changed { IPS_DST_NAT } else { 0 })
            }
            Field::SourceAddressType => word(self.address_type(flow.source)),
            Field::DestinationAddressType => word(self.address_type(flow.destination)),
        }
    }

    fn address_type(&self, address: IpAddr) -> u32 {
        match address {
            _ if self.machine.host.is_local(address) => RTN_LOCAL,
            _ if address.is_multicast() => RTN_MULTICAST,
            IpAddr::V4(address) if address.is_broadcast() => RTN_BROADCAST,
            _ => RTN_UNICAST,
        }
    }

    /// Returns the set with this name.
    pub(super) fn set(&self, name: &Name) -> Result<&'a Set, NoValue> {
        self.machine.commit.set(name).ok_or(NoValue::Unknown("there is no such set"))
    }

    /// Looks up a key in a set or map. Returns `None` if the key is not there.
    pub(super) fn find(&mut self, name: &Name, key: &Concat) -> Result<Option<ElementData>, NoValue> {
        let set = self.set(name)?;
        if key.values(&set.key).is_none() {
            return Err(NoValue::Unknown("the key does not fit the set"));
        }
        let replaced = !set.flags.interval && self.machine.commit.replaces(name, key);
        if self.pass(replaced)? {
            return Ok(None);
        }
        let hit = || Effect::Found { set: name.clone(), types: set.key.clone(), key: key.clone() };
        if let Some(element) = self.machine.commit.element(name, key, self.clock) {
            self.found.push(hit());
            return Ok(Some(element.data.clone()));
        }
        let data = |data: Option<&Concat>| data.cloned().map_or(ElementData::None, ElementData::Value);
        let mut found = self.machine.memory.get(self.machine.family, name, key);
        for update in self.updates.iter().filter(|update| update.set == *name && update.key == *key) {
            found = match (&update.action, found) {
                (Action::Delete, _) => None,
                // An element keeps the data that it was added with.
                (Action::Update { .. }, Some(kept)) => Some(kept),
                (Action::Update { data, .. }, None) => Some(data.as_ref()),
            };
        }
        if found.is_some() {
            self.found.push(hit());
        } else {
            self.missed.insert((name.clone(), key.clone()));
        }
        Ok(found.map(data))
    }
}

fn word(number: u32) -> Concat {
    Concat::new(&[Value::Class(ClassId(number))])
}

/// How many bytes of a key `jhash` reads: nft counts the padding of a concatenation, but not that of a
/// single field.
fn hashed_length(key: &Expression) -> usize {
    match key {
        Expression::Field(Field::L4Proto) => DataType::InetProto.size(),
        Expression::Field(Field::DestinationPort) => DataType::InetService.size(),
        Expression::Concat(parts) => match parts.as_slice() {
            [only] => hashed_length(only),
            _ => usize::MAX,
        },
        _ => usize::MAX,
    }
}

/// A 32-bit number in host order.
pub(super) fn as_number(bytes: &[u8]) -> Result<u32, NoValue> {
    let bytes = bytes.try_into().map_err(|_| NoValue::Unknown("not a 32-bit number"))?;
    Ok(u32::from_ne_bytes(bytes))
}
