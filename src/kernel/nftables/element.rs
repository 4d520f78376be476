//! Encodes elements, of which there may be hundreds of thousands, straight into the batch.

use portolan_rules::ruleset::{COMMENT_MAX, Concat, Element, ElementData, Family, Set, SetData, Verdict};

use super::{
    attributes::Attribute,
    declaration::{data_types, length},
    libnftnl::Bytes,
    uapi::*,
    verdict::verdict_code,
    wire::{self, checked},
};

/// A message with elements of one set, or with keys of elements, that is being written.
pub(super) struct ElementList<'a> {
    buffer: &'a mut Vec<u8>,
    set: &'a Set,
    /// Lengths of keys and data in the kernel, in bytes.
    key: usize,
    data: usize,
    /// Where the message starts in the buffer.
    message: usize,
    /// Where its list starts.
    list: usize,
    /// Number of elements in the list.
    count: u16,
}

impl<'a> ElementList<'a> {
    /// Starts a message of this type (`NFT_MSG_…SETELEM`).
    pub(super) fn begin(
        buffer: &'a mut Vec<u8>,
        kind: c_int,
        sequence: u32,
        (family, table): (Family, &str),
        set: &'a Set,
    ) -> Self {
        let flags = if kind == NFT_MSG_NEWSETELEM { NLM_F_REQUEST | NLM_F_CREATE } else { NLM_F_REQUEST };
        let message = wire::begin_message(buffer, wire::nf_tables(kind), flags, sequence, family.number(), 0);
        wire::string(buffer, NFTA_SET_ELEM_LIST_SET, &set.name);
        wire::string(buffer, NFTA_TABLE_NAME, table);
        let list = wire::begin_nest(buffer, NFTA_SET_ELEM_LIST_ELEMENTS);
        let (key, data) = (length(&set.key), length(data_types(set)));
        Self { buffer, set, key, data, message, list, count: 0 }
    }

    /// Completes the message.
    pub(super) fn end(self) {
        wire::end_nest(self.buffer, self.list);
        wire::end_message(self.buffer, self.message);
    }

    /// Writes an element: its key, the end of its range and, if it is added, its data and comment. Returns false, and
    /// writes nothing, if it does not fit: a list has at most 65,535 bytes.
    pub(super) fn push(
        &mut self,
        key: &Concat,
        end: Option<&Concat>,
        element: Option<&Element>,
    ) -> Result<bool, String> {
        let (before, is_first) = (self.buffer.len(), self.count == 0);
        self.write(key, end, element)?;
        if self.buffer.len() - self.list <= wire::ATTRIBUTE_MAX {
            return Ok(true);
        }
        if is_first {
            return Err("an element longer than a message".to_owned());
        }
        self.buffer.truncate(before);
        Ok(false)
    }

    fn write(&mut self, key: &Concat, end: Option<&Concat>, element: Option<&Element>) -> Result<(), String> {
        let start = self.begin_element();
        if key.as_bytes().is_empty() {
            wire::flags(self.buffer, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_CATCHALL);
            self.rest(element, false)?;
            wire::end_nest(self.buffer, start);
            return Ok(());
        }
        let key = cut(key, self.key)?;
        let end = end.map(|end| cut(end, self.key)).transpose()?;
        value(self.buffer, NFTA_SET_ELEM_KEY, key);
        // A range of concatenations is one element. A range of a single field is two: its start, and the first key
        // after it, if there is one.
        let (mut after, mut is_open) = (None, false);
        if self.set.flags.interval && self.set.key.len() == 1 {
            let end = end.unwrap_or(key);
            if end < key {
                return Err("a range that ends before it starts".to_owned());
            }
            after = successor(end);
            is_open = after.is_none();
        } else if let Some(end) = end {
            if !self.set.flags.interval {
                return Err("a range in a set without ranges".to_owned());
            }
            value(self.buffer, NFTA_SET_ELEM_KEY_END, end);
        }
        self.rest(element, is_open)?;
        wire::end_nest(self.buffer, start);
        if let Some(after) = after {
            let start = self.begin_element();
            wire::flags(self.buffer, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
            value(self.buffer, NFTA_SET_ELEM_KEY, &after);
            wire::end_nest(self.buffer, start);
        }
        Ok(())
    }

    /// Starts an element. Elements are numbered as libnftnl does; the kernel ignores the numbers.
    fn begin_element(&mut self) -> usize {
        self.count += 1;
        wire::begin_nest(self.buffer, self.count)
    }

    /// Writes the data and the comment of an element that is added.
    fn rest(&mut self, element: Option<&Element>, is_open: bool) -> Result<(), String> {
        let Some(element) = element else { return Ok(()) };
        match (&element.data, &self.set.data) {
            (ElementData::None, SetData::None) => {}
            (ElementData::Value(data), SetData::Value(_)) => {
                value(self.buffer, NFTA_SET_ELEM_DATA, cut(data, self.data)?);
            }
            (ElementData::Verdict(data), SetData::Verdict) => verdict(self.buffer, data)?,
            _ => return Err("data of another kind than the set's".to_owned()),
        }
        userdata(self.buffer, element.comment.as_deref(), is_open)
    }
}

/// The bytes of a value in the kernel, without the padding of the last field that a [`Concat`] has.
fn cut(value: &Concat, length: usize) -> Result<&[u8], String> {
    let (bytes, padded) = (value.as_bytes(), length.next_multiple_of(4));
    if bytes.len() != padded {
        return Err(format!("a value of {} bytes where the set has {padded}", bytes.len()));
    }
    Ok(&bytes[..length])
}

/// Writes `NFTA_DATA_VALUE` nested in another attribute. Both lengths are known, so that both headers take one write.
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
    let chain = chain.map(|chain| checked(chain)).transpose()?;
    wire::nest(buffer, NFTA_SET_ELEM_DATA, |data| {
        wire::nest(data, NFTA_DATA_VERDICT, |verdict| {
            wire::number(verdict, NFTA_VERDICT_CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                wire::string(verdict, NFTA_VERDICT_CHAIN, chain);
            }
        });
    });
    Ok(())
}

/// Writes user data in nft's format: records of type, length and value.
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

/// Reads the value of an attribute that holds data.
pub(super) fn read_value(attribute: Attribute<'_>) -> Option<Concat> {
    Some(padded(attribute.nested().find(NFTA_DATA_VALUE)?.value))
}

/// Reads the comment from an element's user data.
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

/// Applies a step to the last byte of a key, and to the bytes before it as long as the step carries.
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

/// Converts bytes from the kernel to a [`Concat`], padded to whole registers.
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
