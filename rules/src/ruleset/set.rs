//! Sets and maps.

use super::{elements::Elements, name::Name, value::DataType};

/// What the elements of a set lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetData {
    /// Nothing: a plain set.
    None,
    /// A value or a concatenation: a data map.
    Value(Vec<DataType>),
    /// A verdict: a verdict map.
    Verdict,
}

/// Properties of a set (`NFTA_SET_FLAGS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetFlags {
    /// Elements are ranges (`NFT_SET_INTERVAL`).
    pub interval: bool,
    /// Rules add elements (`NFT_SET_EVAL`); such elements are not part of the model.
    pub dynamic: bool,
    /// Elements may expire (`NFT_SET_TIMEOUT`).
    pub timeout: bool,
}

/// A named set or map with its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Name.
    pub name: Name,
    /// Types of the key's fields; several fields are a concatenation.
    pub key: Vec<DataType>,
    /// What the elements lead to.
    pub data: SetData,
    /// Properties.
    pub flags: SetFlags,
    /// Greatest number of elements (`NFTA_SET_DESC_SIZE`). If it is declared, the kernel chooses a hash of fixed
    /// size.
    pub size: Option<u32>,
    /// Whether each element counts the packets that match it (`NFTA_SET_EXPR`, kernel 5.7). The counts are not part
    /// of the model.
    pub counter: bool,
    /// Elements by key. Empty for a dynamic set.
    pub elements: Elements,
}

impl Set {
    /// A set without elements.
    pub fn new(name: impl Into<Name>, key: &[DataType]) -> Self {
        Self {
            name: name.into(),
            key: key.to_vec(),
            data: SetData::None,
            flags: SetFlags::default(),
            size: None,
            counter: false,
            elements: Elements::new(),
        }
    }

    /// A data map without elements.
    pub fn map(name: impl Into<Name>, key: &[DataType], data: &[DataType]) -> Self {
        Self { data: SetData::Value(data.to_vec()), ..Self::new(name, key) }
    }

    /// A verdict map without elements.
    pub fn verdict_map(name: impl Into<Name>, key: &[DataType]) -> Self {
        Self { data: SetData::Verdict, ..Self::new(name, key) }
    }

    /// The same set with a declared size.
    #[must_use]
    pub fn with_size(self, size: u32) -> Self {
        Self { size: Some(size), ..self }
    }

    /// The same set with these flags.
    #[must_use]
    pub fn with_flags(self, flags: SetFlags) -> Self {
        Self { flags, ..self }
    }

    /// The same set, with elements that count the packets that match them.
    #[must_use]
    pub fn with_counter(self) -> Self {
        Self { counter: true, ..self }
    }

    /// Whether this is a map: `map` rather than `set` in nft's notation.
    pub fn is_map(&self) -> bool {
        self.data != SetData::None
    }

    /// The declaration of the set: the same set without elements. The elements are not copied.
    #[must_use]
    pub fn without_elements(&self) -> Self {
        Self {
            elements: Elements::new(),
            name: self.name.clone(),
            key: self.key.clone(),
            data: self.data.clone(),
            ..*self
        }
    }

    /// Whether both sets have the same declaration: everything but the elements.
    pub fn same_declaration(&self, other: &Self) -> bool {
        self.name == other.name
            && self.key == other.key
            && self.data == other.data
            && self.flags == other.flags
            && self.size == other.size
            && self.counter == other.counter
    }
}
