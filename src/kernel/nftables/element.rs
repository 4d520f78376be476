//! Writes elements: the hundreds of thousands of things that change, straight into the batch.

use portolan_rules::ruleset::{
    COMMENT_MAX, Concat, DataType, Element, ElementData, Family, Set, SetData, Verdict,
};

use super::{
    attributes::Attribute,
    libnftnl::{Bytes, Name},
    uapi::*,
    verdict::verdict_code,
    wire,
};

/// How many bytes keys and data of a set have: in the kernel, and in a [`Concat`], whose fields are padded.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    kernel: usize,
    padded: usize,
}

impl Lengths {
    fn of(types: &[DataType]) -> Self {
        let padded = types.iter().map(|field| field.padded_size()).sum();
        match types {
            [one] => Self { kernel: one.size(), padded },
            _ => Self { kernel: padded, padded },
        }
    }

    /// The kernel's bytes of a value.
    fn cut(self, value: &Concat) -> Result<&[u8], String> {
        let bytes = value.as_bytes();
        if bytes.len() == self.padded {
            bytes.get(..self.kernel).ok_or_else(|| "a type without length".to_owned())
        } else {
            Err(format!("a value of {} bytes where the set has {}", bytes.len(), self.padded))
        }
    }
}

/// How a set's elements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// A key.
    Exact,
    /// A range of one field: its start, and as an element of its own the first key after it.
    Range,
    /// A range of concatenations: start and end in one element.
    ConcatRange,
}

/// Writes messages that add or delete elements of one set.
pub(super) struct ElementWriter<'a> {
    family: Family,
    table: &'a str,
    set: &'a Set,
    delete: bool,
    shape: Shape,
    key: Lengths,
    data: Lengths,
    /// Where the message starts in the buffer.
    message: usize,
    /// Where its list starts.
    list: usize,
    /// Number of elements in the list.
    count: u16,
}

impl<'a> ElementWriter<'a> {
    /// Starts the first message.
    pub(super) fn begin(
        buffer: &mut Vec<u8>,
        sequence: u32,
        (family, table): (Family, &'a str),
        set: &'a Set,
        delete: bool,
    ) -> Self {
        let shape = match (set.flags.interval, set.key.len()) {
            (false, _) => Shape::Exact,
            (true, 1) => Shape::Range,
            (true, _) => Shape::ConcatRange,
        };
        let data = match &set.data {
            SetData::Value(types) => types.as_slice(),
            SetData::None | SetData::Verdict => &[],
        };
        let (key, data) = (Lengths::of(&set.key), Lengths::of(data));
        let mut writer = Self { family, table, set, delete, shape, key, data, message: 0, list: 0, count: 0 };
        writer.open(buffer, sequence);
        writer
    }

    fn open(&mut self, buffer: &mut Vec<u8>, sequence: u32) {
        let (kind, flags) =
            if self.delete { (NFT_MSG_DELSETELEM, 0) } else { (NFT_MSG_NEWSETELEM, NLM_F_CREATE) };
        let kind = wire::nf_tables(kind);
        let family = self.family.number();
        self.message = wire::begin_message(buffer, kind, NLM_F_REQUEST | flags, sequence, family, 0);
        wire::string(buffer, NFTA_SET_ELEM_LIST_SET, &self.set.name);
        wire::string(buffer, NFTA_TABLE_NAME, self.table);
        self.list = wire::begin_nest(buffer, NFTA_SET_ELEM_LIST_ELEMENTS);
        self.count = 0;
    }

    /// Where the message starts in the buffer.
    pub(super) const fn start(&self) -> usize {
        self.message
    }

    /// Completes the message.
    pub(super) fn end(&self, buffer: &mut [u8]) {
        wire::end_nest(buffer, self.list);
        wire::end_message(buffer, self.message);
    }

    /// Writes an element. Returns whether that began another message, with the sequence number `next`:
    /// a list has at most 65,535 bytes.
    pub(super) fn write(
        &mut self,
        buffer: &mut Vec<u8>,
        next: u32,
        key: &Concat,
        element: &ElementRef<'_>,
    ) -> Result<bool, String> {
        let (before, count) = (buffer.len(), self.count);
        self.elements(buffer, key, element)?;
        if buffer.len() - self.list <= wire::ATTRIBUTE_MAX {
            return Ok(false);
        }
        if count == 0 {
            return Err("an element longer than a message".to_owned());
        }
        buffer.truncate(before);
        self.count = count;
        self.end(buffer);
        self.open(buffer, next);
        self.elements(buffer, key, element)?;
        Ok(true)
    }

    fn elements(
        &mut self,
        buffer: &mut Vec<u8>,
        key: &Concat,
        element: &ElementRef<'_>,
    ) -> Result<(), String> {
        if key.as_bytes().is_empty() {
            let start = self.begin_element(buffer);
            wire::flags(buffer, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_CATCHALL);
            self.rest(buffer, element, false)?;
            wire::end_nest(buffer, start);
            return Ok(());
        }
        let key = self.key.cut(key)?;
        let end = element.end.map(|end| self.key.cut(end)).transpose()?;
        let start = self.begin_element(buffer);
        value(buffer, NFTA_SET_ELEM_KEY, key);
        match self.shape {
            Shape::Exact if end.is_some() => return Err("a range in a set without ranges".to_owned()),
            Shape::Exact => self.rest(buffer, element, false)?,
            Shape::ConcatRange => {
                if let Some(end) = end {
                    value(buffer, NFTA_SET_ELEM_KEY_END, end);
                }
                self.rest(buffer, element, false)?;
            }
            Shape::Range => {
                let end = end.unwrap_or(key);
                if end < key {
                    return Err("a range that ends before it starts".to_owned());
                }
                let after = successor(end);
                self.rest(buffer, element, after.is_none())?;
                if let Some(after) = after {
                    wire::end_nest(buffer, start);
                    let start = self.begin_element(buffer);
                    wire::flags(buffer, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
                    value(buffer, NFTA_SET_ELEM_KEY, &after);
                    wire::end_nest(buffer, start);
                    return Ok(());
                }
            }
        }
        wire::end_nest(buffer, start);
        Ok(())
    }

    /// Starts an element. libnftnl numbers them; the kernel does not look at the number.
    fn begin_element(&mut self, buffer: &mut Vec<u8>) -> usize {
        self.count = self.count.wrapping_add(1);
        wire::begin_nest(buffer, self.count & NLA_TYPE_MASK)
    }

    /// What follows the key: data and comment.
    fn rest(&self, buffer: &mut Vec<u8>, element: &ElementRef<'_>, open: bool) -> Result<(), String> {
        if self.delete {
            return Ok(());
        }
        match (element.data, &self.set.data) {
            (ElementData::None, SetData::None) => {}
            (ElementData::Value(data), SetData::Value(_)) => {
                value(buffer, NFTA_SET_ELEM_DATA, self.data.cut(data)?);
            }
            (ElementData::Verdict(data), SetData::Verdict) => verdict(buffer, data)?,
            _ => return Err("data of another kind than the set's".to_owned()),
        }
        userdata(buffer, element.comment, open)
    }
}

/// An element to add, or the key of one to delete.
pub(super) struct ElementRef<'a> {
    /// End of the range, inclusive.
    pub end: Option<&'a Concat>,
    /// Data; not looked at when deleting.
    pub data: &'a ElementData,
    /// Comment.
    pub comment: Option<&'a str>,
}

impl<'a> From<&'a Element> for ElementRef<'a> {
    fn from(element: &'a Element) -> Self {
        Self { end: element.end.as_deref(), data: &element.data, comment: element.comment.as_deref() }
    }
}

/// Writes an element that consists of its key, to ask for the rest of it.
pub(super) fn write_key(buffer: &mut Vec<u8>, set: &Set, key: &Concat) -> Result<(), String> {
    let key = Lengths::of(&set.key).cut(key)?;
    let start = wire::begin_nest(buffer, 1);
    value(buffer, NFTA_SET_ELEM_KEY, key);
    wire::end_nest(buffer, start);
    Ok(())
}

/// Writes `NFTA_DATA_VALUE` in a nest of its own. Both lengths are known, so that both headers are one write.
#[inline]
fn value(buffer: &mut Vec<u8>, kind: u16, bytes: &[u8]) {
    let length = 4 + bytes.len();
    let mut headers = [0; 8];
    headers[..4].copy_from_slice(&wire::header(4 + length.next_multiple_of(4), kind | NLA_F_NESTED));
    headers[4..].copy_from_slice(&wire::header(length, NFTA_DATA_VALUE));
    buffer.extend_from_slice(&headers);
    buffer.extend_from_slice(bytes);
    wire::pad(buffer, length);
}

fn verdict(buffer: &mut Vec<u8>, verdict: &Verdict) -> Result<(), String> {
    let (code, chain) = verdict_code(verdict);
    let data = wire::begin_nest(buffer, NFTA_SET_ELEM_DATA);
    let nest = wire::begin_nest(buffer, NFTA_DATA_VERDICT);
    wire::number(buffer, NFTA_VERDICT_CODE, code.cast_unsigned());
    if let Some(chain) = chain {
        Name::new(chain)?;
        wire::string(buffer, NFTA_VERDICT_CHAIN, chain);
    }
    wire::end_nest(buffer, nest);
    wire::end_nest(buffer, data);
    Ok(())
}

/// Writes the records that nft reads: type, length and value each.
fn userdata(buffer: &mut Vec<u8>, comment: Option<&str>, open: bool) -> Result<(), String> {
    let length = 4 + comment.map_or(0, |comment| comment.len() + 3) + if open { 6 } else { 0 };
    if length == 4 {
        return Ok(());
    }
    buffer.extend_from_slice(&wire::header(length, NFTA_SET_ELEM_USERDATA));
    if let Some(comment) = comment {
        if comment.len() > COMMENT_MAX || comment.contains('\0') {
            return Err(format!("a comment of {} bytes, or with a zero byte", comment.len()));
        }
        buffer.extend_from_slice(&[UDATA_ELEM_COMMENT, comment.len() as u8 + 1]);
        buffer.extend_from_slice(comment.as_bytes());
        buffer.push(0);
    }
    if open {
        buffer.extend_from_slice(&[UDATA_ELEM_FLAGS, 4]);
        buffer.extend_from_slice(&UDATA_ELEM_F_INTERVAL_OPEN.to_ne_bytes());
    }
    wire::pad(buffer, length);
    Ok(())
}

/// The value of an attribute that holds data.
pub(super) fn read_value(attribute: Attribute<'_>) -> Option<Concat> {
    Some(padded(attribute.nested().find(NFTA_DATA_VALUE)?.value))
}

/// The comment in an element's user data.
pub(super) fn comment(mut records: &[u8]) -> Option<&str> {
    while let [kind, length, rest @ ..] = records {
        let record = rest.get(..usize::from(*length))?;
        if *kind == UDATA_ELEM_COMMENT {
            return std::str::from_utf8(record.strip_suffix(&[0]).unwrap_or(record)).ok();
        }
        records = &rest[record.len()..];
    }
    None
}

/// The key after this one in network order; `None` after the greatest.
fn successor(key: &[u8]) -> Option<Bytes> {
    neighbour(key, |byte| byte.overflowing_add(1))
}

/// The key before this one in network order; `None` before the least.
pub(super) fn predecessor(key: &[u8]) -> Option<Concat> {
    Some(padded(&neighbour(key, |byte| byte.overflowing_sub(1))?))
}

/// A key with a step done at its last byte, and at those before it as far as the step carries over.
fn neighbour(key: &[u8], step: impl Fn(u8) -> (u8, bool)) -> Option<Bytes> {
    let mut next = Bytes::from_slice(key);
    for byte in next.iter_mut().rev() {
        let carry;
        (*byte, carry) = step(*byte);
        if !carry {
            return Some(next);
        }
    }
    None
}

/// The kernel's bytes as a [`Concat`]: whole registers.
pub(super) fn padded(bytes: &[u8]) -> Concat {
    if bytes.len().is_multiple_of(4) {
        return Concat::from_bytes(bytes);
    }
    let mut whole = Bytes::from_slice(bytes);
    whole.resize(bytes.len().next_multiple_of(4), 0);
    Concat::from_bytes(&whole)
}

#[cfg(test)]
mod tests;
