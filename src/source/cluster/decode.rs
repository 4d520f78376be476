//! Lists and events, in the encoding that the server has chosen: JSON or Kubernetes' protobuf.

use kube::core::WatchEvent;
use serde_json::Value;

use super::{
    action::Version,
    error::RequestError,
    kind::Watched,
    request::{Connection, Encoding},
    split::{ListMeta, Splitter, protobuf::ProtobufSplitter},
};
use crate::api::protobuf;

/// An event of a watch.
pub(super) enum Decoded<W> {
    /// An object that is new or changed or, with `true`, the last state of a deleted object.
    Object(W, bool),
    /// All changes up to this version, if there is one, were sent.
    Bookmark(Option<Version>),
    /// The object cannot be decoded.
    Undecodable(String),
}

/// `resourceVersion`, unless it is empty.
pub(super) fn version<W: Watched>(object: &W) -> Option<Version> {
    object.metadata().get()?.resource_version.get().filter(|version| !version.is_empty()).cloned()
}

/// Reads an event. Returns `None` for a blank line.
///
/// # Errors
/// The bytes are not an event, or the event has the type `ERROR`.
pub(super) fn event<W: Watched>(
    bytes: &[u8],
    encoding: Encoding,
) -> Result<Option<Decoded<W>>, RequestError> {
    match encoding {
        Encoding::Json => json_event(bytes),
        Encoding::Protobuf => protobuf_event(bytes).map(Some),
    }
}

fn json_event<W: Watched>(line: &[u8]) -> Result<Option<Decoded<W>>, RequestError> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let error = match serde_json::from_slice(line) {
        Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
            return Ok(Some(Decoded::Object(object, false)));
        }
        Ok(WatchEvent::Deleted(object)) => return Ok(Some(Decoded::Object(object, true))),
        Ok(WatchEvent::Bookmark(mark)) => {
            let version = Some(mark.metadata.resource_version).filter(|version| !version.is_empty());
            return Ok(Some(Decoded::Bookmark(version.map(Into::into))));
        }
        Ok(WatchEvent::Error(status)) => return Err(RequestError::status(&status)),
        Err(error) if error.is_data() => error,
        Err(error) => return Err(RequestError::malformed(error)),
    };
    // The object may be a Status with a null, which kube does not accept.
    let mut event: Value = serde_json::from_slice(line).map_err(RequestError::malformed)?;
    if event["type"] == "ERROR" {
        return Err(RequestError::event(event["object"].take()));
    }
    Ok(Some(Decoded::Undecodable(error.to_string())))
}

fn protobuf_event<W: Watched>(frame: &[u8]) -> Result<Decoded<W>, RequestError> {
    let (kind, document) = protobuf::event(frame).map_err(RequestError::malformed)?;
    let (_, object) = protobuf::document(document).map_err(RequestError::malformed)?;
    let object = protobuf::read::<W>(object, W::SCHEMA);
    match kind {
        "ADDED" | "MODIFIED" | "DELETED" => Ok(match object {
            Ok(object) => Decoded::Object(object, kind == "DELETED"),
            Err(error) => Decoded::Undecodable(error.to_string()),
        }),
        "BOOKMARK" => Ok(Decoded::Bookmark(version(&object.map_err(RequestError::malformed)?))),
        "ERROR" => Err(RequestError::event_document(document)),
        other => Err(RequestError::malformed(format_args!("an event of type {other:?}"))),
    }
}

/// Requests a page of a list, and passes its objects to `object` one by one.
///
/// # Errors
/// The request fails, or the answer is not a list of this kind.
pub(super) async fn page<W: Watched>(
    connection: &Connection,
    path: &str,
    object: &mut (dyn FnMut(&W) -> Result<(), RequestError> + Send),
) -> Result<ListMeta, RequestError> {
    let mut answer = connection.list(path).await?;
    let invalid = |error: &dyn std::fmt::Display| RequestError::malformed(format_args!("an item: {error}"));
    match answer.encoding {
        Encoding::Json => {
            let mut splitter = Splitter::default();
            let mut item = |item: &[u8]| {
                let decoded = serde_json::from_slice::<W>(item);
                object(&decoded.map_err(|error| invalid(&error))?)
            };
            while let Some(bytes) = answer.next().await? {
                splitter.feed(&bytes, &mut item)?;
            }
            splitter.finish(W::KIND.name())
        }
        Encoding::Protobuf => {
            let mut splitter = ProtobufSplitter::default();
            let mut item = |item: &[u8]| {
                let decoded = protobuf::read::<W>(item, W::SCHEMA);
                object(&decoded.map_err(|error| invalid(&error))?)
            };
            while let Some(bytes) = answer.next().await? {
                splitter.feed(&bytes, &mut item)?;
            }
            splitter.finish(W::KIND.name())
        }
    }
}
