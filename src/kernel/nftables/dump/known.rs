//! Reads the elements of a large set by their keys.
//!
//! A dump walks a set of the kernel's hash kind from its beginning for every 32 KiB, so that it takes time in the
//! square of the set's size. Asking for elements by key takes the same time for each. If as many are found as the
//! set has, then these are all.

use portolan_rules::ruleset::{Concat, Family, Set};

use super::elements::ElementReader;
use crate::kernel::nftables::{
    Error,
    connection::{Connection, Received},
    element::write_key,
    uapi::{
        NFT_MSG_GETSETELEM, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_TABLE_NAME,
        NLM_F_REQUEST, NLMSG_ERROR,
    },
    wire,
};

/// Keys in one request. The kernel puts a reply for each into the socket's buffer before it comes back, and these
/// must all find room.
const AT_ONCE: usize = 1024;
/// A set smaller than this is dumped in a few messages.
pub(super) const WORTH_IT: u32 = 4096;
/// Keys without an element, after which asking is given up: each ends its request.
const MISSES: usize = 20_000;

/// Asks for the elements of a set at these keys, each of which is there once. Nothing if they are not all that the
/// set has, which is `count`.
pub(super) fn read(
    connection: &mut Connection,
    table: (Family, &str),
    set: &Set,
    keys: &[Concat],
    count: u32,
) -> Result<Option<ElementReader>, Error> {
    let read = read_some(connection, table, set, keys)?;
    Ok(read.filter(|(_, found)| u32::try_from(*found) == Ok(count)).map(|(elements, _)| elements))
}

/// Asks for the elements of a set at these keys, each of which is there once; gives those that are there, and how many
/// these are. Nothing if the kernel's answers were lost, or too many keys have no element.
pub(super) fn read_some(
    connection: &mut Connection,
    table: (Family, &str),
    set: &Set,
    keys: &[Concat],
) -> Result<Option<(ElementReader, usize)>, Error> {
    let mut elements = ElementReader::of(set);
    let (mut request, mut rest) = (Vec::new(), keys);
    let (mut found, mut missed) = (0, 0);
    while !rest.is_empty() {
        let asked = &rest[..rest.len().min(AT_ONCE)];
        request.clear();
        let sequence = connection.next_sequence();
        if write(&mut request, sequence, table, set, asked).is_none() {
            return Ok(None);
        }
        connection.drain()?;
        connection.send(&request)?;
        let (mut replies, mut ended) = (0, false);
        loop {
            let length = match connection.receive(false)? {
                Received::Bytes(length) => length,
                Received::Nothing => break,
                Received::Lost => return Ok(None),
            };
            for message in connection.messages(length).filter(|message| message.sequence == sequence) {
                // The first key without an element ends a request.
                ended |= message.kind == NLMSG_ERROR;
                if !ended {
                    elements.read(message.attributes());
                    replies += 1;
                }
            }
        }
        found += replies;
        missed += usize::from(ended);
        if missed > MISSES || (!ended && replies != asked.len()) {
            return Ok(None);
        }
        rest = rest.get(replies + usize::from(ended)..).unwrap_or_default();
    }
    Ok(Some((elements, found)))
}

/// Writes a request; nothing if a key cannot be written.
fn write(
    request: &mut Vec<u8>,
    sequence: u32,
    (family, table): (Family, &str),
    set: &Set,
    keys: &[Concat],
) -> Option<()> {
    let kind = wire::nf_tables(NFT_MSG_GETSETELEM);
    let start = wire::begin_message(request, kind, NLM_F_REQUEST, sequence, family.number(), 0);
    wire::string(request, NFTA_SET_ELEM_LIST_SET, &set.name);
    wire::string(request, NFTA_TABLE_NAME, table);
    let list = wire::begin_nest(request, NFTA_SET_ELEM_LIST_ELEMENTS);
    for key in keys {
        write_key(request, set, key).ok()?;
    }
    wire::end_nest(request, list);
    wire::end_message(request, start);
    Some(())
}
