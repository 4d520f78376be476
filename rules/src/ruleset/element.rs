//! Elements of sets and maps.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{
    name::Name,
    statement::Verdict,
    value::{DataType, Value},
};

/// Longest comment that nft accepts on an element, in bytes (`NFTNL_UDATA_COMMENT_MAXLEN`).
pub const COMMENT_MAX: usize = 128;

/// Longest concatenation that is stored in place, in bytes: an IPv6 frontend with its slot takes 28. Only the
/// sources of IPv6 frontends are longer.
const IN_PLACE: usize = 30;

/// A value or a concatenation of values, in the layout of the kernel's registers: each field padded to four bytes.
/// The types of the fields are those of the set.
#[derive(Clone)]
pub struct Concat(Bytes);

/// A byte string that takes 32 bytes of memory: there are hundreds of thousands of concatenations, nearly all of
/// them short.
#[derive(Clone)]
enum Bytes {
    InPlace { length: u8, bytes: [u8; IN_PLACE] },
    Boxed(Box<[u8]>),
}

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
    #[inline]
    pub fn push(&mut self, value: Value) {
        match value {
            Value::Ipv4(address) => self.append(address.octets()),
            Value::Ipv6(address) => self.append(address.octets()),
            Value::Proto(number) => self.append([number, 0, 0, 0]),
            Value::Port(port) => {
                let [high, low] = port.to_be_bytes();
                self.append([high, low, 0, 0]);
            }
            Value::Class(class) => self.append(class.0.to_ne_bytes()),
        }
    }

    #[inline]
    fn append<const N: usize>(&mut self, more: [u8; N]) {
        if let Bytes::InPlace { length, bytes } = &mut self.0
            && let Some(free) = bytes.get_mut(usize::from(*length)..).and_then(<[u8]>::first_chunk_mut)
        {
            *free = more;
            *length += N as u8;
        } else {
            self.0 = Bytes::Boxed([self.as_bytes(), &more].concat().into());
        }
    }

    /// This concatenation with one more value.
    #[must_use]
    #[inline]
    pub fn with(&self, value: Value) -> Self {
        let mut longer = self.clone();
        longer.push(value);
        longer
    }

    /// Makes a concatenation of bytes in register layout, as in a dump from the kernel.
    pub fn from_bytes(from: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE];
        Self(match bytes.get_mut(..from.len()) {
            Some(start) => {
                start.copy_from_slice(from);
                Bytes::InPlace { length: from.len() as u8, bytes }
            }
            None => Bytes::Boxed(from.into()),
        })
    }

    /// The bytes in register layout.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::InPlace { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Bytes::Boxed(bytes) => bytes,
        }
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

impl Default for Concat {
    fn default() -> Self {
        Self(Bytes::InPlace { length: 0, bytes: [0; IN_PLACE] })
    }
}

impl fmt::Debug for Concat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Concat").field(&self.as_bytes()).finish()
    }
}

impl PartialEq for Concat {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Concat {}

impl PartialOrd for Concat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Concat {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Concat {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
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
    /// The chain that the element leads to, if its data is a verdict.
    pub const fn target(&self) -> Option<&Name> {
        if let ElementData::Verdict(verdict) = &self.data { verdict.target() } else { None }
    }

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_element_and_its_key_are_small() {
        assert_eq!(size_of::<Concat>(), 32);
        assert!(size_of::<(Concat, Element)>() <= 88, "there are hundreds of thousands of them");
    }

    proptest! {
        #[test]
        fn short_and_long_concatenations_are_the_bytes_of_their_values(classes in proptest::collection::vec(any::<u32>(), 0..16)) {
            let values: Vec<Value> = classes.iter().map(|class| Value::Class(crate::ruleset::ClassId(*class))).collect();
            let bytes: Vec<u8> = classes.iter().flat_map(|class| class.to_ne_bytes()).collect();
            let concat = Concat::new(&values);
            prop_assert_eq!(concat.as_bytes(), &bytes[..]);
            prop_assert_eq!(Concat::from_bytes(&bytes), concat);
        }
    }
}
