//! The agent's state, for commands on its node: `MessagePack` values, each after its length in bytes (32 bits, big
//! endian). The first value holds the state of the agent, the snapshot without its objects, and the numbers of Services
//! and slices. Arrays of these Services and slices follow.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use rmp_serde::decode::Error;
use serde::{Deserialize, Serialize};

use super::{agent_state::AgentState, query::Snapshot};

/// How many objects are in one array.
pub(super) const AT_ONCE: usize = 16;

/// From this number of objects on, a second thread pays off.
const MANY: usize = 1_000;

/// Serializes a value after its length. Serializing these values does not fail.
pub(super) fn value(value: &impl Serialize) -> Vec<u8> {
    let value = rmp_serde::to_vec(value).unwrap_or_default();
    [&(value.len() as u32).to_be_bytes()[..], &value].concat()
}

/// Reads the agent's state and its snapshot, decoding values as they arrive.
pub fn read(from: impl Read + Send) -> Result<(AgentState, Snapshot), Error> {
    let mut from = from;
    let head = next(&mut from, Vec::new())?;
    let (state, mut snapshot, services, slices): (AgentState, Snapshot, usize, usize) =
        rmp_serde::from_slice(&head)?;
    snapshot.services = list(&mut from, services)?;
    snapshot.slices = list(&mut from, slices)?;
    Ok((state, snapshot))
}

/// Reads the next value into this buffer: decoding from memory is faster.
fn next(from: &mut impl Read, mut value: Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut length = [0; 4];
    from.read_exact(&mut length).map_err(Error::InvalidDataRead)?;
    value.clear();
    let length = u32::from_be_bytes(length);
    from.take(length.into()).read_to_end(&mut value).map_err(Error::InvalidDataRead)?;
    Ok(value)
}

/// Reads this many objects. If there are many, a second thread decodes some of them.
fn list<T: for<'a> Deserialize<'a> + Send + Sync>(
    from: &mut (impl Read + Send),
    count: usize,
) -> Result<Vec<Arc<T>>, Error> {
    let unread = Mutex::new((from, 0..count.div_ceil(AT_ONCE)));
    let decode = || {
        let (mut value, mut decoded) = (Vec::new(), Vec::new());
        loop {
            let mut unread = unread.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(index) = unread.1.next() else { return Ok::<_, Error>(decoded) };
            value = next(&mut unread.0, value)?;
            drop(unread);
            decoded.push((index, rmp_serde::from_slice::<Vec<Arc<T>>>(&value)?));
        }
    };
    let mut decoded = thread::scope(|scope| {
        let second = (count >= MANY).then(|| scope.spawn(decode));
        let mut decoded = decode()?;
        if let Some(second) = second {
            decoded.extend(second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, Error>(decoded)
    })?;
    decoded.sort_unstable_by_key(|(index, _)| *index);
    Ok(decoded.into_iter().flat_map(|(_, objects)| objects).collect())
}
