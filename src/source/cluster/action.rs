//! The actions of a reflector, their outcomes, and their effects on the store.

use std::time::Duration;

use tokio::time::Instant;

use super::error::RequestError;

/// `resourceVersion`.
pub(super) type Version = Box<str>;

/// How old a list may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Any age: the server's cache is enough, which spares etcd when many nodes start.
    Any,
    /// Not older than this version.
    NotOlder(Version),
    /// The newest there is.
    Newest,
}

/// The outcome of an action.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A list is complete.
    Listed {
        version: Version,
        /// Whether the list has no objects, though objects are known.
        is_emptied: bool,
    },
    /// The server's history still contains the version, and matches the known objects.
    Verified,
    /// At that version, the server's history does not match the known objects.
    Contradicted,
    /// The server has accepted a watch.
    Opened,
    /// A watch has sent an event or a bookmark, with this version if it has one.
    Received(Option<Version>),
    /// The watch has sent nothing until the given time.
    Silent,
    /// The watch ended without an error.
    Ended,
    /// A request failed, or its answer was cut off.
    Failed(RequestError),
    /// The delay is over.
    Elapsed,
    /// The server has answered a request for another kind.
    Woken,
    /// The reflector of another kind has found that the server's history was replaced.
    Alerted,
}

/// What happens to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Keep,
    /// The list replaces all objects.
    Replace,
    /// The event changes an object.
    Apply,
    /// The server does not serve the kind, and it is optional: there are no objects.
    Clear,
    /// Nothing, but the server's history was replaced, which concerns all kinds.
    Alert,
}

/// The next action of a reflector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// List all objects.
    List { freshness: Freshness },
    /// Ask whether the server's history still contains this version.
    Verify { version: Version },
    /// Watch from a version on.
    Watch { version: Version, duration: Duration },
    /// Read the next line of the watch.
    Read { until: Instant },
    /// Wait.
    Wait { until: Instant },
}
