//! A socket to ctnetlink, and the removal of stale flows over it.

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

/// The most UDP destinations of a family that are requested one by one (over IPv6: ports). The kernel walks its
/// whole table for each, 28 ms for 100,000 entries; with more of them, one walk that returns all UDP flows is
/// cheaper: the same and 1.3 ms for every 1,000 of these.
pub(super) const ONE_BY_ONE: usize = 3;
/// The same of other protocols: SCTP flows are few, and so are TCP connections that were never answered.
const FEW_ONE_BY_ONE: usize = 1;
/// How often a dump is tried when the table is rearranged meanwhile.
const ATTEMPTS: usize = 5;
/// How many deletions are sent to the kernel at once: as many as the receive buffer has room for refusals.
const AT_ONCE: usize = 500;

/// Why stale flows could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to the kernel failed.
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

/// Has the kernel load connection tracking, as it does at the first request for it. On a fresh node there may have been
/// none yet, and the sysctls exist only then.
pub fn load() -> Result<(), Error> {
    let mut connection = Connection::open()?;
    connection.ask(uapi::CT_GET_STATS, 0, false, |_| (), |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// A socket to ctnetlink in the network namespace of the thread that opened it.
pub struct Conntrack {
    connection: Connection,
    /// Whether the kernel takes a filter; one that refuses it once is not asked again.
    filters: bool,
}

impl Conntrack {
    /// Opens the socket.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { connection: Connection::open()?, filters: true })
    }

    /// Removes those flows of a family to these destinations that are stale, and of these only the ones that are `still`
    /// stale, which is asked right before they are removed. Adds their number to `removed`; a flow that ended meanwhile
    /// does not count. After an error some may be gone already, and it is safe to try again.
    ///
    /// An entry in a zone of its own (`CTA_ZONE`) that is not translated is not touched: such zones are for tracking
    /// before or after the translation, and see the destination untranslated forever.
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

    /// The destinations of the flows of a protocol, and the sources of their replies: each pair once. Of TCP only
    /// connections that were never answered count.
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

    /// Makes several attempts, until one says that nothing is missing.
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

    /// Calls `read` for each entry that the filter lets through, and perhaps for more, until that breaks. Of TCP connections, unless
    /// `with_answered`, those without an answer are enough.
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
            // A refusal comes before any entry.
            Err(error) if filter != Filter::default() && is_refusal(&error) => {
                self.filters = false;
                self.dump(family, Filter::default(), with_answered, read)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Sends the messages that delete what is `still` stale. Entries that have gone by themselves do not count.
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
            // There is no reply for what was deleted.
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

/// Whether the kernel did not understand the question, rather than failed to answer it.
fn is_refusal(error: &nftables::Error) -> bool {
    let nftables::Error::Io { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::RANGE))
}
