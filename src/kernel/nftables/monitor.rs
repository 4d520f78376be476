//! Receives notifications about changes of `nf_tables`' rulesets by any process.

mod filter;

use std::{
    collections::VecDeque,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use portolan_rules::ruleset::{Concat, Name};
use tracing::debug;

use super::{
    attributes::{Attributes, Message},
    connection::{Connection, Received, set_member},
    element::read_value,
    error::Error,
    libnftnl::attach_filter,
    uapi::*,
};

/// The ruleset's generation, which each commit increments (`NFT_MSG_NEWGEN`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// The generation's number (`NFTA_GEN_ID`).
    pub id: u32,
    /// Id of the thread that made the commit (`NFTA_GEN_PROC_PID`).
    pub thread: u32,
    /// That thread's name (`NFTA_GEN_PROC_NAME`).
    pub process: String,
}

impl Generation {
    pub(super) fn read(message: &Message<'_>) -> Option<Self> {
        let attributes = message.attributes();
        Some(Self {
            id: attributes.number(NFTA_GEN_ID)?,
            thread: attributes.number(NFTA_GEN_PROC_PID).unwrap_or(0),
            process: attributes.find(NFTA_GEN_PROC_NAME).map_or_else(String::new, |name| {
                String::from_utf8_lossy(name.value).trim_end_matches('\0').to_owned()
            }),
        })
    }
}

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Family of the table (`NFPROTO_…`).
    pub family: u8,
    /// The table's name; `None` if the notification is about the generation.
    pub table: Option<Name>,
    /// The set's name, if the notification is about a set or its elements.
    pub set: Option<Name>,
    /// The keys of the elements, if the notification is about elements and each has a key.
    pub keys: Vec<Concat>,
    /// The generation, which is the last notification of a commit.
    pub generation: Option<Generation>,
}

/// A subscription to the changes of all rulesets in one network namespace. Its file descriptor can be polled.
pub struct Monitor {
    connection: Connection,
    notifications: VecDeque<Notification>,
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// A handle to the subscription of a [`Monitor`], for another thread.
#[derive(Debug)]
pub struct Subscription(OwnedFd);

impl Subscription {
    /// Ends or renews the subscription. Changes in between are not reported.
    pub fn set(&self, subscribed: bool) -> Result<(), Error> {
        set_member(self.0.as_fd(), subscribed)
    }
}

impl Monitor {
    /// Subscribes to the changes of tables of this name in this thread's network namespace, and to the end of every
    /// commit.
    pub fn open(table: &str) -> Result<Self, Error> {
        let monitor = Self::unsubscribed()?;
        monitor.only(table);
        monitor.subscribe(true)?;
        Ok(monitor)
    }

    /// Opens the socket without subscribing.
    pub(super) fn unsubscribed() -> Result<Self, Error> {
        Ok(Self { connection: Connection::open()?, notifications: VecDeque::new() })
    }

    /// Makes the kernel drop most notifications about tables of other names. If it cannot, they are skipped when they
    /// are read.
    pub(super) fn only(&self, table: &str) {
        if let Err(error) = attach_filter(self.as_fd(), &filter::program(table)) {
            debug!(%error, "The kernel does not filter notifications");
        }
    }

    /// Subscribes or unsubscribes. The kernel writes a notification for each element of every commit to each
    /// subscriber.
    pub(super) fn subscribe(&self, subscribed: bool) -> Result<(), Error> {
        set_member(self.as_fd(), subscribed)
    }

    /// Discards all notifications that have arrived.
    pub(super) fn discard(&mut self) -> Result<(), Error> {
        self.notifications.clear();
        self.connection.drain()
    }

    /// Returns a handle with which another thread can suspend the subscription.
    pub fn subscription(&self) -> Result<Subscription, Error> {
        let socket = self.as_fd().try_clone_to_owned();
        socket.map(Subscription).map_err(Error::io("cannot duplicate a netlink socket"))
    }

    /// Returns the next notification, or `None` if none has arrived.
    ///
    /// # Errors
    /// [`Error::Unknown`] if notifications were lost: the kernel does not wait for a slow reader.
    pub fn receive(&mut self) -> Result<Option<Notification>, Error> {
        while self.notifications.is_empty() {
            match self.connection.receive(false)? {
                Received::Nothing => return Ok(None),
                Received::Lost => return Err(Error::Unknown("notifications were lost".to_owned())),
                Received::Bytes(length) => {
                    let Self { connection, notifications } = self;
                    notifications
                        .extend(connection.messages(length).filter_map(|message| notification(&message)));
                }
            }
        }
        Ok(self.notifications.pop_front())
    }
}

fn notification(message: &Message<'_>) -> Option<Notification> {
    if message.kind >> 8 != NFNL_SUBSYS_NFTABLES {
        return None;
    }
    let kind = message.kind & 0xff;
    let attributes = message.attributes();
    let (table, generation) = match kind {
        NFT_MSG_NEWGEN => (None, Generation::read(message)),
        _ => (attributes.name(NFTA_TABLE_NAME), None),
    };
    let of_set = [NFT_MSG_NEWSET, NFT_MSG_DELSET, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM].contains(&kind);
    // The attribute has the same number in messages about elements (`NFTA_SET_ELEM_LIST_SET`).
    let set = of_set.then(|| attributes.name(NFTA_SET_NAME)).flatten();
    let keys = match kind {
        NFT_MSG_NEWSETELEM | NFT_MSG_DELSETELEM => keys(attributes).unwrap_or_default(),
        _ => Vec::new(),
    };
    Some(Notification { family: message.family(), table, set, keys, generation })
}

/// The keys of the elements in a message; `None` if an element has no key, as the catch-all element.
fn keys(attributes: Attributes<'_>) -> Option<Vec<Concat>> {
    let elements = attributes.nested(NFTA_SET_ELEM_LIST_ELEMENTS).iter();
    elements.map(|element| read_value(element.nested().find(NFTA_SET_ELEM_KEY)?)).collect()
}
