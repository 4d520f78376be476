//! Connection tracking: removes UDP flows that lead where they no longer should, over ctnetlink.
//!
//! Only what is proven stale by `portolan_rules::flows` goes, entry by entry. TCP and SCTP are never read.

mod entry;
mod request;
mod uapi;

use std::collections::BTreeSet;

use portolan_rules::{flows::Flows, ruleset::Family};
use rustix::io::Errno;

use crate::kernel::{
    self,
    connection::{Connection, Outcome, Received, Reply},
};
use entry::Entry;
use request::Filter;

/// Up to so many destinations of a family are asked for one by one (over IPv6: ports). The kernel walks its
/// whole table for each, 28 ms for 100,000 entries; with more of them, one walk that returns all UDP flows is
/// cheaper: the same and 1.3 ms for every 1,000 of these.
const ONE_BY_ONE: usize = 3;
/// How often a dump is tried when the table is rearranged meanwhile.
const ATTEMPTS: usize = 5;
/// How much is sent to the kernel at once: a few hundred deletions, whose refusals fit the receive buffer.
const CHUNK: usize = 64 << 10;

/// Why stale flows could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel could not be asked or told.
    #[error("connection tracking: {0}")]
    Kernel(#[from] kernel::Error),
    /// The kernel refused to delete entries; others are gone.
    #[error("the kernel refused to delete {count} entries of connection tracking: {errno}")]
    Refused {
        /// Number of entries.
        count: usize,
        /// The error number of the first.
        errno: Errno,
    },
    /// The table changed during each of several dumps; what was seen is done.
    #[error("the connection tracking table was rearranged during each of {ATTEMPTS} dumps")]
    Interrupted,
}

/// Has the kernel load connection tracking, as it does for whoever asks for it: on a fresh node nobody may have, and
/// its sysctls are there only then.
///
/// # Errors
/// The kernel does not have it, or not for us.
pub fn load() -> Result<(), Error> {
    let mut connection = Connection::open()?;
    connection.ask(uapi::GET_STATS, 0, false, |_| (), |_| ())?;
    Ok(())
}

/// A socket to ctnetlink in the network namespace of the thread that opened it.
pub struct Conntrack {
    connection: Connection,
    /// Whether the kernel takes a filter; one that refuses it once is not asked again.
    filters: bool,
}

impl std::fmt::Debug for Conntrack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conntrack").field("filters", &self.filters).finish_non_exhaustive()
    }
}

impl Conntrack {
    /// Opens the socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { connection: Connection::open()?, filters: true })
    }

    /// Removes the UDP flows to these destinations that are stale. Returns how many there were; one that ended
    /// meanwhile does not count. After an error some may be gone already, and asking again is safe.
    ///
    /// An entry in a zone of its own (`CTA_ZONE`) that nobody translated is not touched: others track flows in
    /// zones before or after the translation, and see the destination untranslated for good.
    pub fn remove_stale(&mut self, flows: &Flows) -> Result<usize, Error> {
        Family::ALL.into_iter().map(|family| self.remove_stale_of(family, flows)).sum()
    }

    /// The same for the destinations of one family.
    pub fn remove_stale_of(&mut self, family: Family, flows: &Flows) -> Result<usize, Error> {
        let own = flows.destinations().filter(|at| Family::of(at.ip()) == family);
        let mut filters: BTreeSet<Filter> = own.map(Filter::to).collect();
        if !filters.is_empty() && !self.filters {
            filters = [Filter::Nothing].into();
        } else if filters.len() > ONE_BY_ONE {
            filters = [Filter::Udp].into();
        }
        let mut removed = 0;
        for filter in filters {
            removed += self.remove(family, filter, flows)?;
        }
        Ok(removed)
    }

    /// Removes what is stale of a dump.
    fn remove(&mut self, family: Family, mut filter: Filter, flows: &Flows) -> Result<usize, Error> {
        let mut removed = 0;
        for _ in 0..ATTEMPTS {
            let mut deletions = Deletions::default();
            let outcome = self.connection.ask(
                uapi::GET,
                family.number(),
                true,
                |request| filter.write(request),
                |message| {
                    let attributes = message.attributes();
                    let stale = Entry::read(attributes).is_some_and(|entry| {
                        let untranslated = entry.source == entry.destination;
                        !(untranslated && entry.zoned) && flows.is_stale(entry.destination, entry.source)
                    });
                    if stale {
                        deletions.push(|chunk| request::delete(chunk, family.number(), attributes));
                    }
                },
            );
            let outcome = match outcome {
                Err(error) if filter != Filter::Nothing && is_refusal(&error) => {
                    (self.filters, filter) = (false, Filter::Nothing);
                    continue;
                }
                other => other?,
            };
            removed += self.delete(&deletions)?;
            if outcome == Outcome::Complete {
                return Ok(removed);
            }
        }
        Err(Error::Interrupted)
    }

    /// Sends deletions. What is not there any more is as good as deleted, but does not count.
    fn delete(&mut self, deletions: &Deletions) -> Result<usize, Error> {
        let (mut absent, mut refused) = (0, 0);
        let mut first = None;
        for chunk in &deletions.chunks {
            self.connection.send(chunk)?;
            // All replies are there when sending returns, and there is none for what was deleted.
            loop {
                match self.connection.receive(false)? {
                    Received::Nothing => break,
                    Received::Lost => {
                        return Err(kernel::Error::Unknown("replies were lost".to_owned()).into());
                    }
                    Received::Bytes(length) => {
                        for reply in self.connection.messages(length).filter_map(|m| Reply::read(&m)) {
                            match Errno::from_raw_os_error(reply.errno) {
                                Errno::NOENT => absent += 1,
                                errno => {
                                    refused += 1;
                                    first.get_or_insert(errno);
                                }
                            }
                        }
                    }
                }
            }
        }
        match first {
            Some(errno) => Err(Error::Refused { count: refused, errno }),
            None => Ok(deletions.count.saturating_sub(absent)),
        }
    }
}

/// Messages that each delete an entry, in datagrams.
#[derive(Default)]
struct Deletions {
    chunks: Vec<Vec<u8>>,
    count: usize,
}

impl Deletions {
    fn push(&mut self, write: impl FnMut(&mut Vec<u8>)) {
        self.count += 1;
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push(Vec::new());
        }
        self.chunks.last_mut().into_iter().for_each(write);
    }
}

/// Whether the kernel did not understand the question, rather than failed to answer it.
fn is_refusal(error: &kernel::Error) -> bool {
    let kernel::Error::Io { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::RANGE))
}
