//! Reads netlink messages and attributes. Bounds are checked everywhere, so that arbitrary bytes do no harm.

use std::sync::Arc;

use super::uapi::*;

/// A netlink message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Type, with the subsystem in the high byte.
    pub kind: c_int,
    /// Flags.
    pub flags: c_int,
    /// Sequence number of the request that this message answers.
    pub sequence: u32,
    /// The bytes after the header.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family in `struct nfgenmsg`, or zero if the header is missing.
    pub(crate) fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or(0)
    }

    /// The attributes after `struct nfgenmsg`.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(HEADERS - HEADER..).unwrap_or_default())
    }
}

/// Iterates over the messages of a datagram, up to the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32_at(self.0, 0)? as usize;
        let message = self.0.get(..length)?;
        let payload = message.get(HEADER..)?;
        let message = Message {
            kind: u16_at(message, 4)?.into(),
            flags: u16_at(message, 6)?.into(),
            sequence: u32_at(message, 8)?,
            payload,
        };
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// A netlink attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'a> {
    /// Type, without flags.
    pub kind: u16,
    /// Value, without padding.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes nested in this one.
    pub(crate) fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }

    /// A number of 32 bits in network order.
    pub(crate) fn number(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.value.try_into().ok()?))
    }

    /// A number of 64 bits in network order.
    pub(crate) fn long(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.value.try_into().ok()?))
    }

    /// A string, up to its terminating zero.
    pub(crate) fn string(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value.split(|&byte| byte == 0).next()?).ok()
    }
}

/// A sequence of attributes, up to the first malformed one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    /// Iterates over the attributes.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = Attribute<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let length = usize::from(u16_at(rest, 0)?);
            let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(Attribute { kind, value })
        })
    }

    /// The first attribute of this type.
    pub(crate) fn find(self, kind: u16) -> Option<Attribute<'a>> {
        self.iter().find(|attribute| attribute.kind == kind)
    }

    /// The number in the first attribute of this type.
    pub(crate) fn number(self, kind: u16) -> Option<u32> {
        self.find(kind)?.number()
    }

    /// The flags in the first attribute of this type; zero if there is no such attribute.
    pub(crate) fn flags(self, kind: u16) -> c_int {
        self.number(kind).unwrap_or(0).cast_signed()
    }

    /// The string in the first attribute of this type.
    pub(crate) fn string(self, kind: u16) -> Option<&'a str> {
        self.find(kind)?.string()
    }

    /// The string in the first attribute of this type, as a shared name.
    pub(crate) fn name(self, kind: u16) -> Option<Arc<str>> {
        self.string(kind).map(Arc::from)
    }

    /// The attributes nested in the first attribute of this type; empty if there is no such attribute.
    pub(crate) fn nested(self, kind: u16) -> Self {
        self.find(kind).map_or(Self(&[]), |attribute| attribute.nested())
    }
}

/// Reads a number in host order at this offset.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}
