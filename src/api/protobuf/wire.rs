//! The encoding of protobuf: fields, one after the other.

use serde::de::{Error as _, value::Error};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer or a boolean.
    Number(u64),
    /// Text, a message, or bytes.
    Bytes(&'a [u8]),
    /// A number of a fixed length. Kubernetes' objects have such numbers only in fields that are not read.
    Fixed,
}

/// The fields of a message, by number.
#[derive(Clone, Debug)]
pub struct Wire<'a> {
    rest: &'a [u8],
}

impl<'a> Wire<'a> {
    /// The fields of this message.
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// How many bytes have not been read.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The number and the type of the next field, and the length or the value that follows; `None` if these are not
    /// complete.
    ///
    /// # Errors
    /// The bytes cannot be a field.
    #[inline]
    pub fn head(&mut self) -> Result<Option<(u32, u8, u64)>, Error> {
        let Some(tag) = self.varint()? else { return Ok(None) };
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| Error::custom("a field has an impossible number"))?;
        let length = match tag & 7 {
            0 | 2 => self.varint()?,
            1 => Some(8),
            5 => Some(4),
            _ => return Err(Error::custom("a field has an unknown type")),
        };
        Ok(length.map(|length| (number, (tag & 7) as u8, length)))
    }

    #[inline]
    fn varint(&mut self) -> Result<Option<u64>, Error> {
        // Nearly all numbers have one byte.
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(Some(u64::from(*byte)))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<Option<u64>, Error> {
        let mut value = 0_u64;
        for (place, byte) in self.rest.iter().enumerate() {
            if place == 10 {
                return Err(Error::custom("a number is too long"));
            }
            value |= u64::from(byte & 0x7f) << (7 * place).min(63);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(place + 1..).unwrap_or_default();
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Wire<'a> {
    type Item = Result<(u32, Value<'a>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let breaks_off = || Error::custom("a field is cut off");
        let mut read = || {
            let (number, kind, length) = self.head()?.ok_or_else(breaks_off)?;
            if kind == 0 {
                return Ok((number, Value::Number(length)));
            }
            let length = usize::try_from(length).map_err(|_| breaks_off())?;
            let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(breaks_off)?;
            self.rest = rest;
            Ok((number, if kind == 2 { Value::Bytes(bytes) } else { Value::Fixed }))
        };
        let field = read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
