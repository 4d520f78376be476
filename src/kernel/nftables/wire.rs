//! Writes netlink messages and attributes into a growing buffer.

use super::uapi::*;

/// Longest attribute: its length field has 16 bits.
pub(crate) const ATTRIBUTE_MAX: usize = u16::MAX as usize;

/// Starts a message with `struct nfgenmsg`, which [`end_message`] completes. Returns the offset of its start.
pub(crate) fn begin_message(
    buffer: &mut Vec<u8>,
    kind: c_int,
    flags: c_int,
    sequence: u32,
    family: u8,
    resource: c_int,
) -> usize {
    let start = buffer.len();
    let mut header = [0; HEADERS];
    header[4..6].copy_from_slice(&(kind.cast_unsigned() as u16).to_ne_bytes());
    header[6..8].copy_from_slice(&(flags.cast_unsigned() as u16).to_ne_bytes());
    header[8..12].copy_from_slice(&sequence.to_ne_bytes());
    header[16] = family;
    header[18..20].copy_from_slice(&(resource.cast_unsigned() as u16).to_be_bytes());
    buffer.extend_from_slice(&header);
    start
}

/// Completes the message that starts at `start`: writes its length.
pub(crate) fn end_message(buffer: &mut [u8], start: usize) {
    let length = (buffer.len() - start) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// The type of an `nf_tables` message (`NFT_MSG_…`) in a netlink header.
pub(crate) const fn nf_tables(kind: c_int) -> c_int {
    NFNL_SUBSYS_NFTABLES << 8 | kind
}

/// Appends an attribute, padded to four bytes.
#[inline]
pub(crate) fn attribute(buffer: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len();
    debug_assert!(length <= ATTRIBUTE_MAX, "callers bound their values");
    buffer.extend_from_slice(&header(length, kind));
    buffer.extend_from_slice(value);
    pad(buffer, length);
}

/// Checks that the kernel accepts a name of a table, chain or set: it is not empty or too long, and has no zero byte.
pub(crate) fn checked(name: &str) -> Result<&str, String> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("a name of {} bytes", name.len()));
    }
    if name.contains('\0') {
        return Err(format!("name {name:?} with a zero byte"));
    }
    Ok(name)
}

/// Appends a name as a zero-terminated string.
pub(crate) fn string(buffer: &mut Vec<u8>, kind: u16, value: &str) {
    let length = 4 + value.len() + 1;
    buffer.extend_from_slice(&header(length, kind));
    buffer.extend_from_slice(value.as_bytes());
    buffer.push(0);
    pad(buffer, length);
}

/// Appends a number in network order, which `nf_tables` uses.
#[inline]
pub(crate) fn number(buffer: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(buffer, kind, &value.to_be_bytes());
}

/// Appends flags as a number.
pub(crate) fn flags(buffer: &mut Vec<u8>, kind: u16, value: c_int) {
    number(buffer, kind, value.cast_unsigned());
}

/// Starts an attribute with nested attributes, which [`end_nest`] completes. Returns the offset of its start.
#[inline]
pub(crate) fn begin_nest(buffer: &mut Vec<u8>, kind: u16) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&header(0, kind | NLA_F_NESTED));
    start
}

/// Completes the nest that starts at `start`: writes its length.
#[inline]
pub(crate) fn end_nest(buffer: &mut [u8], start: usize) {
    let length = buffer.len() - start;
    debug_assert!(length <= ATTRIBUTE_MAX, "callers split their lists");
    buffer[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
}

/// Appends an attribute with the nested attributes that `write` appends.
pub(crate) fn nest(buffer: &mut Vec<u8>, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
    let start = begin_nest(buffer, kind);
    write(buffer);
    end_nest(buffer, start);
}

/// The header of an attribute of this length, which includes the header and excludes padding.
#[inline]
pub(crate) fn header(length: usize, kind: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = ((length as u16).to_ne_bytes(), kind.to_ne_bytes());
    [a, b, c, d]
}

/// Pads after an attribute of this length.
#[inline]
pub(crate) fn pad(buffer: &mut Vec<u8>, length: usize) {
    let padding = length.next_multiple_of(4) - length;
    buffer.extend_from_slice(&[0; 3][..padding]);
}
