//! The socket to ctnetlink: removes stale flows.

use std::{collections::BTreeSet, net::SocketAddr, ops::ControlFlow};

use portolan_rules::{
    incremental::flows::{Destination, Flows},
    model::Protocol,
    ruleset::Family,
};
use rustix::io::Errno;

use super::{
    entry::Entry,
    request::{self, Filter},
    uapi,
};
use crate::kernel::nftables::{
    self,
    attributes::Attributes,
    connection::{Connection, Outcome},
};

/// Most UDP destinations of a family (over IPv6: ports) that are requested one by one. The kernel walks its whole table
/// for each, which takes 28 ms for 100,000 entries. For more destinations, one walk that returns all UDP flows is
/// cheaper: it takes the same time, and 1.3 ms for every 1,000 flows.
pub(super) const ONE_BY_ONE: usize = 3;
/// The same for other protocols: SCTP flows are few, and so are TCP connections that were never answered.
const FEW_ONE_BY_ONE: usize = 1;
/// How often a dump is attempted if the table is rearranged meanwhile.
const ATTEMPTS: usize = 5;
/// How many deletions are sent at once: the receive buffer has room for this many refusals.
const AT_ONCE: usize = 500;

/// Why stale flows could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the kernel failed.
    #[error("connection tracking: {0}")]
    Kernel(#[from] nftables::Error),
    /// The kernel refused to delete some entries; the others are deleted.
    #[error("the kernel refused to delete {count} entries of connection tracking: {errno}")]
    Refused {
        /// Number of entries that were refused.
        count: usize,
        /// The error number of the first refusal.
        errno: Errno,
    },
    /// The table was rearranged during each of several dumps; the entries that were read have been processed.
    #[error("the connection tracking table was rearranged during each of {ATTEMPTS} dumps")]
    Interrupted,
}

/// Makes the kernel load connection tracking, which it does at the first request. Its sysctls exist only afterwards,
/// and on a fresh node there may have been no request yet.
pub fn load() -> Result<(), Error> {
    let mut connection = Connection::open()?;
    connection.ask(uapi::CT_GET_STATS, 0, false, |_| (), |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// A socket to ctnetlink in the network namespace of the thread that opened it.
pub struct Conntrack {
    connection: Connection,
    /// Whether the kernel accepts filters; false once it has refused one.
    filters: bool,
}

impl Conntrack {
    /// Opens the socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { connection: Connection::open()?, filters: true })
    }

    /// Removes the stale flows of a family. `still` is called right before a flow is removed, which is kept unless it
    /// returns true. Adds the number of removed flows to `removed`; a flow that ended meanwhile does not count. After
    /// an error some flows may have been removed, and the call can be repeated.
    ///
    /// An entry in a zone (`CTA_ZONE`) that is not translated is kept: such zones track flows before or after the
    /// translation, and always see the destination untranslated.
    pub fn remove_stale(
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
                of_protocol = [Filter::default()].into();
            } else if of_protocol.len() > most {
                of_protocol = [Filter::of(protocol)].into();
            }
            filters.extend(of_protocol);
        }
        for filter in filters {
            self.repeat(|conntrack| {
                let mut deletions = Vec::new();
                let outcome = conntrack.dump(family.number(), filter, false, |attributes| {
                    let stale =
                        Entry::read(attributes).filter(|it| flows.is_stale(it.destination, it.source));
                    deletions
                        .extend(stale.map(|entry| (entry, request::delete(family.number(), attributes))));
                    ControlFlow::Continue(())
                })?;
                conntrack.delete(&deletions, still, removed)?;
                Ok(outcome == Outcome::Complete)
            })?;
        }
        Ok(())
    }

    /// Returns the destinations of the flows of a protocol with the sources of their replies, each pair once. For TCP,
    /// only connections that were never answered are included.
    pub fn survey(&mut self, protocol: Protocol) -> Result<BTreeSet<(Destination, SocketAddr)>, Error> {
        let mut found = BTreeSet::new();
        self.repeat(|conntrack| {
            let outcome = conntrack.dump(uapi::EVERY_FAMILY, Filter::of(protocol), false, |attributes| {
                let entry = Entry::read(attributes).filter(|entry| entry.destination.protocol == protocol);
                found.extend(entry.map(|entry| (entry.destination, entry.source)));
                ControlFlow::Continue(())
            })?;
            Ok(outcome == Outcome::Complete)
        })?;
        Ok(found)
    }

    /// Repeats an attempt until it returns true: nothing is missing.
    pub(super) fn repeat(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            if attempt(self)? {
                return Ok(());
            }
        }
        Err(Error::Interrupted)
    }

    /// Calls `read` for each entry that the filter matches, and perhaps for others, until it breaks. Unless
    /// `with_answered` is set, TCP connections that were answered may be left out.
    pub(super) fn dump(
        &mut self,
        family: u8,
        filter: Filter,
        with_answered: bool,
        mut read: impl FnMut(Attributes<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        let filter = if self.filters { filter } else { Filter::default() };
        let write = |request: &mut Vec<u8>| filter.write(request, with_answered);
        let outcome =
            self.connection.ask(uapi::CT_GET, family, true, write, |message| read(message.attributes()));
        match outcome {
            // A refusal arrives before any entry.
            Err(error) if filter != Filter::default() && is_refusal(&error) => {
                self.filters = false;
                self.dump(family, Filter::default(), with_answered, read)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Sends the messages that delete the entries that are `still` stale. Entries that expired meanwhile do not count.
    fn delete(
        &mut self,
        deletions: &[(Entry, Vec<u8>)],
        still: &dyn Fn(Destination, SocketAddr) -> bool,
        removed: &mut usize,
    ) -> Result<(), Error> {
        let mut refused = Vec::new();
        for deletions in deletions.chunks(AT_ONCE) {
            let due = deletions.iter().filter(|(entry, _)| still(entry.destination, entry.source));
            let messages: Vec<&[u8]> = due.map(|(_, message)| &message[..]).collect();
            if messages.is_empty() {
                continue;
            }
            // The kernel does not acknowledge deletions.
            let replies = self.connection.execute(&messages.concat())?;
            if replies.lost {
                return Err(nftables::Error::Unknown("replies were lost".to_owned()).into());
            }
            *removed += messages.len().saturating_sub(replies.errors.len());
            let errors = replies.errors.iter().map(|reply| Errno::from_raw_os_error(reply.errno));
            refused.extend(errors.filter(|errno| *errno != Errno::NOENT));
        }
        match refused.first() {
            Some(errno) => Err(Error::Refused { count: refused.len(), errno: *errno }),
            None => Ok(()),
        }
    }
}

/// Whether the kernel does not support a request, rather than failed to process it.
fn is_refusal(error: &nftables::Error) -> bool {
    let nftables::Error::Io { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::RANGE))
}
