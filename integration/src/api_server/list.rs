//! A list on the wire, sent item by item and compressed on the way, as a real server does since version 1.33.

use std::{
    io::{self, Write},
    iter,
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    http::header::{CONTENT_ENCODING, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::stream;
use portolan::api::protobuf::MEDIA_TYPE;
use serde_json::Value;

use super::{
    Resource,
    object::Object,
    protobuf::{self, Encoding},
};

/// The encoding of long lists, for clients that accept it. Watches are never compressed.
pub(super) const GZIP: &str = "gzip";
/// A list of more bytes than this is long.
const LONG: usize = 128 << 10;

/// How many items go into one piece of the response.
const PIECE: usize = 256;

/// Responds with these objects.
pub(super) fn respond(
    (resource, encoding): (Resource, Encoding),
    metadata: &Value,
    items: Vec<Arc<Object>>,
    takes_gzip: bool,
) -> Response {
    let separator: &[u8] = if encoding == Encoding::Json { b"," } else { b"" };
    let item = move |object: &Object| {
        let object = object.bare(resource, encoding);
        if encoding == Encoding::Json { object.to_vec() } else { protobuf::item(object) }
    };
    let length = |object: &Arc<Object>| {
        let length = object.bare(resource, encoding).len();
        if encoding == Encoding::Json { length + 1 } else { protobuf::item_length(length) }
    };
    let length: usize = items.iter().map(length).sum();
    let kind = format!("{}List", resource.kind());
    let (content_type, head, tail) = match encoding {
        Encoding::Protobuf => {
            let [head, tail] = protobuf::around_items(&kind, resource.version(), metadata, length);
            (MEDIA_TYPE, head, tail)
        }
        Encoding::Json => {
            let version = resource.version();
            let head = format!(
                "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":["
            );
            ("application/json", head.into_bytes(), b"]}".to_vec())
        }
    };
    let count = items.len();
    let items = (0..count).step_by(PIECE).map(move |start| {
        let items = items.iter().enumerate().take(start + PIECE).skip(start);
        let encode = |(index, object): (usize, &Arc<Object>)| {
            let separator = if index > 0 { separator } else { b"" };
            [separator, &item(object)].concat()
        };
        items.flat_map(encode).collect()
    });
    let pieces = iter::once(head).chain(items).chain([tail]);
    let content_type = (CONTENT_TYPE, content_type);
    if length <= LONG {
        return ([content_type], pieces.flatten().collect::<Vec<_>>()).into_response();
    }
    if takes_gzip {
        let body = Body::from_stream(stream::iter(gzip(pieces)));
        return ([content_type, (CONTENT_ENCODING, GZIP)], body).into_response();
    }
    let pieces = pieces.map(|piece| Ok::<_, io::Error>(Bytes::from(piece)));
    ([content_type], Body::from_stream(stream::iter(pieces))).into_response()
}

/// Compresses the pieces.
fn gzip(pieces: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = io::Result<Bytes>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    pieces.map(Some).chain([None]).map(move |piece| {
        match piece {
            Some(piece) => encoder.write_all(&piece)?,
            None => encoder.try_finish()?,
        }
        Ok(std::mem::take(encoder.get_mut()).into())
    })
}
