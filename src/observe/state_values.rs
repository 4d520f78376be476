//! What the agent holds, for commands on its node: values of `MessagePack`, each after its length in bytes (32 bits, big
//! endian). First what the agent says of itself, the snapshot without its objects, and the numbers of its Services and of its
//! slices; then arrays of these Services and slices.

use std::{io::Read, sync::Arc};

use rmp_serde::decode::Error;
use serde::{Deserialize, Serialize};

use super::{agent_state::AgentState, query::Snapshot};

/// The most objects that room is made for before they are read.
const ROOM: usize = 1 << 17;

/// A value. Serializing these does not fail.
pub(super) fn value(value: &impl Serialize) -> Vec<u8> {
    let value = rmp_serde::to_vec(value).unwrap_or_default();
    [&(value.len() as u32).to_be_bytes()[..], &value].concat()
}

/// Reads what the agent says of itself, and its snapshot, as they come.
pub fn read(from: impl Read) -> Result<(AgentState, Snapshot), Error> {
    let mut values = Values { from, value: Vec::new() };
    let (state, mut snapshot, services, slices): (AgentState, Snapshot, usize, usize) = values.next()?;
    snapshot.services = values.list(services)?;
    snapshot.slices = values.list(slices)?;
    Ok((state, snapshot))
}

/// Values as they come, and the last of them: reading from memory is quicker.
struct Values<R> {
    from: R,
    value: Vec<u8>,
}

impl<R: Read> Values<R> {
    fn next<'a, T: Deserialize<'a>>(&'a mut self) -> Result<T, Error> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(Error::InvalidDataRead)?;
        let length = u32::from_be_bytes(length);
        self.value.clear();
        let read = (&mut self.from).take(length.into()).read_to_end(&mut self.value);
        read.map_err(Error::InvalidDataRead)?;
        rmp_serde::from_slice(&self.value)
    }

    /// So many objects.
    fn list<T: for<'a> Deserialize<'a>>(&mut self, count: usize) -> Result<Vec<Arc<T>>, Error> {
        let mut list = Vec::with_capacity(count.min(ROOM));
        while list.len() < count {
            list.extend(self.next::<Vec<Arc<T>>>()?);
        }
        Ok(list)
    }
}
