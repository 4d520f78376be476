//! Keys, values and elements of sets in nft's notation.

use std::{
    fmt::{self, Display as _},
    net::IpAddr,
};

use crate::ruleset::{ClassId, Concat, DataType, Element, ElementData, Set, SetData, Value};

/// What one field of a key covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// One value.
    Single(Value),
    /// An address prefix: the first address and the length.
    Prefix(IpAddr, u8),
    /// First and last value.
    Range(Value, Value),
}

impl Span {
    /// The shortest way to write `from..=to`, as nft picks it: only addresses have prefixes.
    pub(super) fn new(from: Value, to: Value) -> Self {
        let prefix = match (from, to) {
            _ if from == to => return Self::Single(from),
            (Value::Ipv4(a), Value::Ipv4(b)) => {
                prefix_length(a.to_bits().into(), b.to_bits().into(), 32).map(|n| (a.into(), n))
            }
            (Value::Ipv6(a), Value::Ipv6(b)) => {
                prefix_length(a.to_bits(), b.to_bits(), 128).map(|n| (a.into(), n))
            }
            _ => None,
        };
        prefix.map_or(Self::Range(from, to), |(address, length)| Self::Prefix(address, length))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Single(single) => single.fmt(f),
            Self::Prefix(address, length) => write!(f, "{address}/{length}"),
            // Ends of a range are numbers even where nft has names for them.
            Self::Range(from, to) => write!(f, "{}-{}", numeric(from), numeric(to)),
        }
    }
}

/// A value for the end of a range: protocols by number.
fn numeric(end: Value) -> impl fmt::Display {
    fmt::from_fn(move |f| match end {
        Value::Proto(number) => number.fmt(f),
        Value::Class(ClassId(0)) => f.write_str("0:0"),
        other => other.fmt(f),
    })
}

/// The length of the prefix that covers exactly `from..=to`, if one does.
fn prefix_length(from: u128, to: u128, bits: u8) -> Option<u8> {
    let host = from ^ to;
    let is_mask = host & host.wrapping_add(1) == 0;
    let length = bits.checked_sub(u8::try_from(host.count_ones()).ok()?)?;
    (is_mask && from & host == 0).then_some(length)
}

/// The fields of a key, each with what it covers; `None` if the key is not of these types.
pub(super) fn spans(types: &[DataType], key: &Concat, end: Option<&Concat>) -> Option<Vec<Span>> {
    let from = key.values(types)?;
    let to = end.unwrap_or(key).values(types)?;
    Some(from.into_iter().zip(to).map(|(from, to)| Span::new(from, to)).collect())
}

/// The key of an element.
pub(super) fn key<'a>(
    types: &'a [DataType],
    key: &'a Concat,
    end: Option<&'a Concat>,
) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| match (end, spans(types, key, end)) {
        (Some(_), Some(spans)) => joined(f, spans),
        _ => key.display(types).fmt(f),
    })
}

/// An element of `set`.
pub(super) fn element<'a>(set: &'a Set, key: &'a Concat, element: &'a Element) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| {
        self::key(&set.key, key, element.end.as_deref()).fmt(f)?;
        if let Some(comment) = &element.comment {
            write!(f, " comment {}", quoted(comment))?;
        }
        match &element.data {
            ElementData::None => Ok(()),
            ElementData::Value(data) => {
                let types: &[DataType] = match &set.data {
                    SetData::Value(types) => types,
                    SetData::None | SetData::Verdict => &[],
                };
                write!(f, " : {}", data.display(types))
            }
            ElementData::Verdict(data) => write!(f, " : {data}"),
        }
    })
}

/// A string in quotes. nft ends a string at the next `"` and has no escape for it, so `"` becomes `'`;
/// control characters become spaces, so that an element stays on its line.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text, '\''))
}

/// Text without control characters, and with `quote` for each `"`.
pub(super) fn printable(text: &str, quote: char) -> String {
    let plain = |c: char| match c {
        '"' => quote,
        c if c.is_control() => ' ',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// Items with ` . ` between them.
pub(super) fn joined(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = impl fmt::Display>,
) -> fmt::Result {
    for (i, item) in items.into_iter().enumerate() {
        write!(f, "{}{item}", if i == 0 { "" } else { " . " })?;
    }
    Ok(())
}
