//! Reads the elements of a large set by their keys.
//!
//! A dump walks a set of the kernel's hash kind from its beginning for every 32 KiB, so that it takes time in the
//! square of the set's size. Asking for elements by key takes the same time for each. If all that are asked for are
//! there, and the set has as many, then these are all.

use portolan_rules::ruleset::{Concat, Family, Set};

use super::elements::ElementReader;
use crate::kernel::{
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
const WORTH_IT: u32 = 4096;

/// Whether to ask for this many expected keys rather than dump a set of `count` elements.
pub(super) fn is_worth_it(set: &Set, count: u32, expected: usize) -> bool {
    !set.flags.interval && count >= WORTH_IT && usize::try_from(count) == Ok(expected)
}

/// Asks for the elements of this set at the keys of those it has here. False if any is not there.
pub(super) fn read(
    connection: &mut Connection,
    table: (Family, &str),
    set: &Set,
    elements: &mut ElementReader,
) -> Result<bool, Error> {
    let mut request = Vec::new();
    let mut keys = set.elements.iter().map(|(key, _)| key).peekable();
    while keys.peek().is_some() {
        request.clear();
        let sequence = connection.next_sequence();
        let asked = ask(&mut request, sequence, table, set, &mut keys.by_ref().take(AT_ONCE));
        connection.drain()?;
        connection.send(&request)?;
        let mut replies = 0;
        loop {
            let length = match connection.receive(false)? {
                Received::Bytes(length) => length,
                Received::Nothing => break,
                Received::Lost => return Ok(false),
            };
            for message in connection.messages(length).filter(|message| message.sequence == sequence) {
                if message.kind == NLMSG_ERROR {
                    return Ok(false);
                }
                elements.read(message.attributes());
                replies += 1;
            }
        }
        if asked != Some(replies) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a request, and says how many keys it has; nothing if one cannot be written.
fn ask(
    request: &mut Vec<u8>,
    sequence: u32,
    (family, table): (Family, &str),
    set: &Set,
    keys: &mut dyn Iterator<Item = &Concat>,
) -> Option<usize> {
    let kind = wire::nf_tables(NFT_MSG_GETSETELEM);
    let start = wire::begin_message(request, kind, NLM_F_REQUEST, sequence, family.number(), 0);
    wire::string(request, NFTA_SET_ELEM_LIST_SET, &set.name);
    wire::string(request, NFTA_TABLE_NAME, table);
    let list = wire::begin_nest(request, NFTA_SET_ELEM_LIST_ELEMENTS);
    let mut count = 0;
    for key in keys {
        write_key(request, set, key).ok()?;
        count += 1;
    }
    wire::end_nest(request, list);
    wire::end_message(request, start);
    Some(count)
}
