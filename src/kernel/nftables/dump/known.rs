//! Reads the elements of a large set by their keys.
//!
//! A dump walks a set of the kernel's hash kind from its beginning for every 32 KiB, so that it takes time in the
//! square of the set's size. Asking for elements by key takes the same time for each. If as many are found as the
//! set has, then these are all.

use portolan_rules::ruleset::{Concat, Set};

use super::elements::ElementReader;
use crate::kernel::nftables::{element::ElementList, error::Error, reader::Reader, uapi::*};

/// Keys in one request. The kernel puts a reply for each into the socket's buffer before it comes back, and these
/// must all find room.
const AT_ONCE: usize = 1024;
/// Keys in the request after one that a key without an element has ended; twice as many in each that none ends. Those that
/// come after such a key are written in vain, and often there are some in a row.
const AFTER_A_MISS: usize = 32;
/// A set smaller than this is dumped in a few messages.
pub(super) const WORTH_IT: u32 = 4096;
/// Keys without an element, after which asking is given up: each ends its request.
const MISSES: usize = 20_000;

/// Asks for the elements of a set at these keys, each of which is there once; gives those that are there, and how many
/// these are. Nothing if the kernel's answers were lost, or too many keys have no element.
pub(super) fn read(
    reader: &mut Reader<'_>,
    set: &Set,
    keys: &[Concat],
) -> Result<Option<(ElementReader, usize)>, Error> {
    let mut elements = ElementReader::of(set);
    let (mut request, mut rest) = (Vec::new(), keys);
    let (mut found, mut missed, mut at_once) = (0, 0, AT_ONCE);
    while !rest.is_empty() {
        let asked = &rest[..rest.len().min(at_once)];
        request.clear();
        let sequence = reader.connection.next_sequence();
        let table = (reader.family, reader.table);
        let mut message = ElementList::begin(&mut request, NFT_MSG_GETSETELEM, sequence, table, set);
        if !asked.iter().all(|key| matches!(message.push(key, None, None), Ok(true))) {
            return Ok(None);
        }
        message.end();
        reader.connection.send(&request)?;
        let (mut replies, mut ended) = (0, false);
        let lost = reader.connection.received(|message| {
            // The first key without an element ends a request.
            ended |= message.kind == NLMSG_ERROR && message.sequence == sequence;
            if !ended && message.sequence == sequence {
                elements.read_list(message.attributes());
                replies += 1;
            }
        })?;
        found += replies;
        missed += usize::from(ended);
        at_once = if ended { AFTER_A_MISS } else { AT_ONCE.min(at_once * 2) };
        if lost || missed > MISSES || (!ended && replies != asked.len()) {
            return Ok(None);
        }
        rest = rest.get(replies + usize::from(ended)..).unwrap_or_default();
    }
    Ok(Some((elements, found)))
}
