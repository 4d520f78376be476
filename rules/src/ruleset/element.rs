//! Elements of sets and maps.

use std::{fmt, sync::Arc};

use smallvec::SmallVec;

use super::{DataType, Value, Verdict};

/// Longest comment that nft accepts on an element, in bytes (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const COMMENT_MAX: usize = 128;

/// A value or a concatenation of values, in the layout of the kernel's registers: each field padded to
/// four bytes. The types are the set's to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Concat(SmallVec<[u8; 32]>);

impl Concat {
    /// Concatenates values.
    pub fn new(values: &[Value]) -> Self {
        let mut concat = Self::default();
        for &value in values {
            concat.push(value);
        }
        concat
    }

    /// Appends one value.
    pub fn push(&mut self, value: Value) {
        match value {
            Value::Ipv4(address) => self.0.extend_from_slice(&address.octets()),
            Value::Ipv6(address) => self.0.extend_from_slice(&address.octets()),
            Value::Proto(number) => self.0.extend_from_slice(&[number, 0, 0, 0]),
            Value::Port(port) => {
                let [high, low] = port.to_be_bytes();
                self.0.extend_from_slice(&[high, low, 0, 0]);
            }
            Value::Class(class) => self.0.extend_from_slice(&class.0.to_ne_bytes()),
        }
    }

    /// This concatenation with one more value.
    #[must_use]
    pub fn with(&self, value: Value) -> Self {
        let mut longer = self.clone();
        longer.push(value);
        longer
    }

    /// Takes over bytes in register layout, as a dump of the kernel delivers them.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    /// The bytes in register layout.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The values, read as `types`; `None` if the length does not fit.
    pub fn values(&self, types: &[DataType]) -> Option<SmallVec<[Value; 5]>> {
        let mut rest = self.as_bytes();
        let mut values = SmallVec::new();
        for &data_type in types {
            values.push(Value::read(data_type, rest)?);
            rest = rest.get(data_type.padded_size().min(rest.len())..)?;
        }
        rest.is_empty().then_some(values)
    }

    /// The values in nft's notation, joined by ` . `; hexadecimal if they are not of these types.
    pub fn display<'a>(&'a self, types: &'a [DataType]) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| match self.values(types) {
            Some(values) => {
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { " . " })?;
                }
                Ok(())
            }
            None => self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        })
    }
}

/// What a map's element leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// Nothing: the element of a set.
    None,
    /// A value: the element of a data map.
    Value(Concat),
    /// A verdict: the element of a verdict map.
    Verdict(Verdict),
}

/// An element of a set or map, without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The last key of the range that the element covers, inclusive, in a set with the interval flag.
    pub end: Option<Box<Concat>>,
    /// What the key leads to.
    pub data: ElementData,
    /// Comment for people, at most [`COMMENT_MAX`] bytes (`NFTA_SET_ELEM_USERDATA`).
    pub comment: Option<Arc<str>>,
}

impl Element {
    /// An element of a set.
    pub const fn member() -> Self {
        Self { end: None, data: ElementData::None, comment: None }
    }

    /// An element of a data map.
    pub const fn value(value: Concat) -> Self {
        Self { end: None, data: ElementData::Value(value), comment: None }
    }

    /// An element of a verdict map.
    pub const fn verdict(verdict: Verdict) -> Self {
        Self { end: None, data: ElementData::Verdict(verdict), comment: None }
    }

    /// The same element with a comment, cut at [`COMMENT_MAX`] bytes.
    #[must_use]
    pub fn with_comment(self, comment: &Arc<str>) -> Self {
        let comment = if comment.len() <= COMMENT_MAX {
            comment.clone()
        } else {
            let cut = (0..=COMMENT_MAX - 3).rev().find(|&i| comment.is_char_boundary(i)).unwrap_or(0);
            format!("{}...", &comment[..cut]).into()
        };
        Self { comment: Some(comment), ..self }
    }
}
