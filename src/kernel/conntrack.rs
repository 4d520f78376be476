//! Connection tracking: removes flows that lead where they no longer should, over ctnetlink.
//!
//! Only what is proven stale by `portolan_rules::flows` goes, entry by entry. TCP connections that were answered are
//! never looked at.

mod entry;
mod request;
mod uapi;

use std::{collections::BTreeSet, net::SocketAddr, ops::ControlFlow};

use portolan_rules::{
    flows::{Destination, Flows},
    model::Protocol,
    ruleset::Family,
};
use rustix::io::Errno;

use crate::kernel::nftables::{
    self,
    attributes::Attributes,
    connection::{Connection, Outcome, Received, Reply},
};
use entry::Entry;
use request::Filter;

/// Up to so many UDP destinations of a family are asked for one by one (over IPv6: ports). The kernel walks its
/// whole table for each, 28 ms for 100,000 entries; with more of them, one walk that returns all UDP flows is
/// cheaper: the same and 1.3 ms for every 1,000 of these.
const ONE_BY_ONE: usize = 3;
/// The same of other protocols: SCTP flows are few, and so are TCP connections that were never answered.
const FEW_ONE_BY_ONE: usize = 1;
/// How often a dump is tried when the table is rearranged meanwhile.
const ATTEMPTS: usize = 5;
/// How much is sent to the kernel at once: a few hundred deletions, whose refusals fit the receive buffer.
const CHUNK: usize = 64 << 10;

/// Why stale flows could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel could not be asked or told.
    #[error("connection tracking: {0}")]
    Kernel(#[from] nftables::Error),
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
    connection.ask(uapi::GET_STATS, 0, false, |_| (), |_| ControlFlow::Continue(()))?;
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

    /// Removes the flows to these destinations that are stale. Returns how many there were; one that ended
    /// meanwhile does not count. After an error some may be gone already, and asking again is safe.
    ///
    /// An entry in a zone of its own (`CTA_ZONE`) that nobody translated is not touched: others track flows in
    /// zones before or after the translation, and see the destination untranslated for good.
    ///
    /// # Errors
    /// The kernel could not be asked, or refused.
    pub fn remove_stale(&mut self, flows: &Flows) -> Result<usize, Error> {
        let mut removed = 0;
        for family in Family::ALL {
            self.remove_stale_of(family, flows, &|_, _| true, &mut removed)?;
        }
        Ok(removed)
    }

    /// The same for the destinations of one family, and of the stale flows only for those that are `still` stale, which
    /// is asked right before they are removed. Adds their number to `removed`.
    ///
    /// # Errors
    /// As above.
    pub fn remove_stale_of(
        &mut self,
        family: Family,
        flows: &Flows,
        still: &dyn Fn(Destination, SocketAddr) -> bool,
        removed: &mut usize,
    ) -> Result<(), Error> {
        let mut filters = BTreeSet::new();
        for protocol in Protocol::ALL {
            let own = flows.destinations().filter(|to| (to.protocol, to.family()) == (protocol, family));
            let mut of_protocol: BTreeSet<Filter> = own.map(Filter::to).collect();
            let most = if protocol == Protocol::Udp { ONE_BY_ONE } else { FEW_ONE_BY_ONE };
            if !of_protocol.is_empty() && !self.filters {
                of_protocol = [Filter::Nothing].into();
            } else if of_protocol.len() > most {
                of_protocol = [Filter::Of(protocol)].into();
            }
            filters.extend(of_protocol);
        }
        for filter in filters {
            self.remove(family, filter, flows, still, removed)?;
        }
        Ok(())
    }

    /// Removes what is stale of a dump.
    fn remove(
        &mut self,
        family: Family,
        filter: Filter,
        flows: &Flows,
        still: &dyn Fn(Destination, SocketAddr) -> bool,
        removed: &mut usize,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let mut deletions = Deletions::default();
            let outcome = self.dump(family.number(), filter, |entry, attributes| {
                if !entry.is_before_translation() && flows.is_stale(entry.destination, entry.source) {
                    deletions.push(entry, |chunk| request::delete(chunk, family.number(), attributes));
                }
            })?;
            self.delete(&deletions, still, removed)?;
            if outcome == Outcome::Complete {
                return Ok(());
            }
        }
        Err(Error::Interrupted)
    }

    /// Where the flows of a protocol go, and who answers them: each pair once. Of TCP only connections that were never
    /// answered count.
    ///
    /// # Errors
    /// The kernel could not be asked.
    pub fn survey(&mut self, protocol: Protocol) -> Result<BTreeSet<(Destination, SocketAddr)>, Error> {
        let mut found = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let outcome = self.dump(uapi::EVERY_FAMILY, Filter::Of(protocol), |entry, _| {
                if entry.destination.protocol == protocol && !entry.is_before_translation() {
                    found.insert((entry.destination, entry.source));
                }
            })?;
            if outcome == Outcome::Complete {
                return Ok(found);
            }
        }
        Err(Error::Interrupted)
    }

    /// Reads the entries that the filter lets through and that may be stale, or more.
    fn dump(
        &mut self,
        family: u8,
        mut filter: Filter,
        mut read: impl FnMut(&Entry, Attributes<'_>),
    ) -> Result<Outcome, Error> {
        if !self.filters {
            filter = Filter::Nothing;
        }
        loop {
            let outcome = self.connection.ask(
                uapi::GET,
                family,
                true,
                |request| filter.write(request),
                |message| {
                    let attributes = message.attributes();
                    if let Some(entry) = Entry::read(attributes) {
                        read(&entry, attributes);
                    }
                    ControlFlow::Continue(())
                },
            );
            match outcome {
                // A refusal comes before any entry.
                Err(error) if filter != Filter::Nothing && is_refusal(&error) => {
                    (self.filters, filter) = (false, Filter::Nothing);
                }
                other => return Ok(other?),
            }
        }
    }

    /// Sends deletions of what is `still` stale. What is not there any more is as good as deleted, but does not count.
    fn delete(
        &mut self,
        deletions: &Deletions,
        still: &dyn Fn(Destination, SocketAddr) -> bool,
        removed: &mut usize,
    ) -> Result<(), Error> {
        let mut refused = 0;
        let mut first = None;
        for chunk in &deletions.0 {
            let (bytes, mut count) = chunk.of(still);
            if count == 0 {
                continue;
            }
            self.connection.send(&bytes)?;
            // All replies are there when sending returns, and there is none for what was deleted.
            loop {
                match self.connection.receive(false)? {
                    Received::Nothing => break,
                    Received::Lost => {
                        return Err(nftables::Error::Unknown("replies were lost".to_owned()).into());
                    }
                    Received::Bytes(length) => {
                        for reply in self.connection.messages(length).filter_map(|m| Reply::read(&m)) {
                            count = count.saturating_sub(1);
                            match Errno::from_raw_os_error(reply.errno) {
                                Errno::NOENT => {}
                                errno => {
                                    refused += 1;
                                    first.get_or_insert(errno);
                                }
                            }
                        }
                    }
                }
            }
            *removed += count;
        }
        match first {
            Some(errno) => Err(Error::Refused { count: refused, errno }),
            None => Ok(()),
        }
    }
}

/// Messages that each delete an entry, in datagrams.
#[derive(Default)]
struct Deletions(Vec<Chunk>);

/// One datagram.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// What each message deletes, and where it ends.
    messages: Vec<(Destination, SocketAddr, usize)>,
}

impl Deletions {
    fn push(&mut self, entry: &Entry, write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.last().is_none_or(|chunk| chunk.bytes.len() >= CHUNK) {
            self.0.push(Chunk::default());
        }
        if let Some(chunk) = self.0.last_mut() {
            write(&mut chunk.bytes);
            chunk.messages.push((entry.destination, entry.source, chunk.bytes.len()));
        }
    }
}

impl Chunk {
    /// The messages about flows that are `still` stale, and their number.
    fn of(&self, still: &dyn Fn(Destination, SocketAddr) -> bool) -> (Vec<u8>, usize) {
        let (mut bytes, mut count, mut start) = (Vec::with_capacity(self.bytes.len()), 0, 0);
        for (destination, source, end) in &self.messages {
            if still(*destination, *source) {
                bytes.extend_from_slice(self.bytes.get(start..*end).unwrap_or_default());
                count += 1;
            }
            start = *end;
        }
        (bytes, count)
    }
}

/// Whether the kernel did not understand the question, rather than failed to answer it.
fn is_refusal(error: &nftables::Error) -> bool {
    let nftables::Error::Io { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::RANGE))
}
