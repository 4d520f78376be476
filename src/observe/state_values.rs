//! What the agent holds, for commands on its node: values of `MessagePack`, one after the other. First what the agent says
//! of itself, then the snapshot without its objects, the numbers of its Services and of its slices, and these.

use std::{io::Read, sync::Arc};

use rmp_serde::{Deserializer, decode::Error, encode};
use serde::{Deserialize, Serialize};

use super::{agent_state::AgentState, query::Snapshot};

/// The most objects that room is made for before they are read.
const ROOM: usize = 1 << 17;

/// A value. Writing to a vector does not fail, and neither does serializing these.
pub(super) fn value(value: &impl Serialize) -> Vec<u8> {
    encode::to_vec(value).unwrap_or_default()
}

/// Reads what the agent says of itself, and its snapshot, as they come.
pub fn read(from: impl Read) -> Result<(AgentState, Snapshot), Error> {
    let mut values = Deserializer::new(from);
    let state = AgentState::deserialize(&mut values)?;
    let mut snapshot = Snapshot::deserialize(&mut values)?;
    let [services, slices] = <[usize; 2]>::deserialize(&mut values)?;
    snapshot.services = list(&mut values, services)?;
    snapshot.slices = list(&mut values, slices)?;
    Ok((state, snapshot))
}

/// Reads so many objects.
fn list<T: for<'a> Deserialize<'a>, R: Read>(
    values: &mut Deserializer<rmp_serde::decode::ReadReader<R>>,
    count: usize,
) -> Result<Vec<Arc<T>>, Error> {
    let mut list = Vec::with_capacity(count.min(ROOM));
    for _ in 0..count {
        list.push(Arc::new(T::deserialize(&mut *values)?));
    }
    Ok(list)
}
