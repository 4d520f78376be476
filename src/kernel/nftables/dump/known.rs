//! Reads the elements of a large set by their keys.
//!
//! For every 32 KiB of a dump, the kernel walks a hash set from its beginning, so that a dump takes time quadratic in
//! the set's size. Requesting elements by key takes constant time for each. If as many elements are found as the set
//! has, then these are all of them.

use portolan_rules::ruleset::{Concat, Set};

use super::elements::ElementReader;
use crate::kernel::nftables::{element::ElementList, error::Error, reader::Reader, uapi::*};

/// Keys in one request. The kernel puts a reply for each into the socket's buffer before the system call returns, and
/// all of them must fit.
const AT_ONCE: usize = 1024;
/// Keys in the request after a miss: a key without an element ends a request, and the keys after it were encoded for
/// nothing. Misses often come in a row. Each request without a miss doubles the number.
const AFTER_A_MISS: usize = 32;
/// Number of misses after which the set is dumped instead.
const MISSES: usize = 20_000;

/// Requests the elements of a set at these distinct keys. Returns those that exist, and their number. `None` if replies
/// were lost, or if too many keys have no element.
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
            // The first key without an element ends the request.
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
