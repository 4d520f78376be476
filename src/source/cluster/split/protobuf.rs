//! Splits a list in protobuf into its objects as it arrives.

use serde::de::value::Error;

use super::{Item, ListMeta};
use crate::{
    api::protobuf::{self, LIST_META, Wire},
    source::cluster::{error::RequestError, request::LONGEST_OBJECT},
};

/// Splits a list in protobuf: a document whose object has the metadata of the list and its items as fields.
#[derive(Debug, Default)]
pub struct ProtobufSplitter {
    /// The bytes that have not been read, since they are not complete.
    buffer: Vec<u8>,
    place: Place,
    kind: String,
    meta: ListMeta,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The document has not begun.
    #[default]
    Start,
    /// A field of the document, before its object.
    Document,
    /// A field of the list, of which this many bytes remain.
    List(u64),
    /// A field of the document, after its object.
    End,
}

impl ProtobufSplitter {
    /// Takes the bytes that arrived, and passes each complete object to `item`.
    ///
    /// # Errors
    /// The bytes cannot be a list, or `item` refuses an object.
    pub fn feed(&mut self, bytes: &[u8], item: &mut Item<'_>) -> Result<(), RequestError> {
        self.buffer.extend_from_slice(bytes);
        let buffer = std::mem::take(&mut self.buffer);
        let mut read = 0;
        while let Some(length) = self.step(buffer.get(read..).unwrap_or_default(), item)? {
            read += length;
        }
        self.buffer = buffer;
        self.buffer.drain(..read);
        if self.buffer.len() > LONGEST_OBJECT {
            return Err(RequestError::malformed("an object of the list is longer than 4 MiB"));
        }
        Ok(())
    }

    /// Reads the next part, and returns its length; `None` if the part is not complete.
    fn step(&mut self, rest: &[u8], item: &mut Item<'_>) -> Result<Option<usize>, RequestError> {
        if self.place == Place::Start {
            if rest.len() < protobuf::MAGIC.len() {
                return Ok(None);
            }
            if !rest.starts_with(protobuf::MAGIC) {
                return Err(RequestError::malformed("the list does not begin with \"k8s\\0\""));
            }
            self.place = Place::Document;
            return Ok(Some(protobuf::MAGIC.len()));
        }
        if self.place == Place::List(0) {
            self.place = Place::End;
        }
        let refuse = |error: Error| RequestError::malformed(error);
        let mut wire = Wire::new(rest);
        let Some((number, kind, length)) = wire.head().map_err(refuse)? else { return Ok(None) };
        let head = rest.len() - wire.left();
        if self.place == Place::Document && (number, kind) == (2, 2) {
            self.place = Place::List(length);
            return Ok(Some(head));
        }
        let length = if kind == 0 { 0 } else { length };
        if length > LONGEST_OBJECT as u64 {
            return Err(RequestError::malformed("an object of the list is longer than 4 MiB"));
        }
        let whole = head + length as usize;
        let Some(value) = rest.get(head..whole) else { return Ok(None) };
        match (self.place, number, kind) {
            (Place::Document, 1, 2) => protobuf::type_kind(value).map_err(refuse)?.clone_into(&mut self.kind),
            (Place::List(_), 1, 2) => self.meta = protobuf::read(value, LIST_META).map_err(refuse)?,
            (Place::List(_), 2, 2) => item(value)?,
            _ => {}
        }
        if let Place::List(left) = &mut self.place {
            *left = left
                .checked_sub(whole as u64)
                .ok_or_else(|| RequestError::malformed("an item is longer than the list"))?;
        }
        Ok(Some(whole))
    }

    /// The metadata of a list of this kind, after its end.
    ///
    /// # Errors
    /// The list was cut off, or is not a list of this kind.
    pub fn finish(self, kind: &str) -> Result<ListMeta, RequestError> {
        if !self.buffer.is_empty() || !matches!(self.place, Place::End | Place::List(0)) {
            return Err(RequestError::malformed("the list is cut off"));
        }
        super::check_kind(self.kind.as_bytes(), kind)?;
        Ok(self.meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, value.len() as u8], value].concat()
    }

    /// A list of this kind, with these bytes after its metadata.
    fn list(kind: &str, items: &[u8]) -> Vec<u8> {
        let types = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
        let metadata = [field(1, b""), field(2, b"7"), field(3, b"x")].concat();
        let object = [&field(1, &metadata), items].concat();
        [protobuf::MAGIC, &field(1, &types), &field(2, &object), &field(3, b""), &field(4, b"")].concat()
    }

    fn split(bytes: &[u8], size: usize) -> Result<(Vec<Vec<u8>>, ListMeta), RequestError> {
        let mut splitter = ProtobufSplitter::default();
        let mut items = Vec::new();
        for chunk in bytes.chunks(size) {
            splitter.feed(chunk, &mut |item| {
                items.push(item.to_vec());
                Ok(())
            })?;
        }
        Ok((items, splitter.finish("Service")?))
    }

    #[test]
    fn objects_are_found_however_the_bytes_are_cut() {
        // With a field of a later version.
        let items = [field(2, b"one"), field(9, b"new"), field(2, b""), field(2, b"three")].concat();
        let bytes = list("ServiceList", &items);
        for size in 1..bytes.len() {
            let (items, meta) = split(&bytes, size).unwrap();
            assert_eq!(items, [&b"one"[..], b"", b"three"], "{size} bytes at once");
            assert_eq!(
                (meta.resource_version.as_deref(), meta.r#continue.as_deref()),
                (Some("7"), Some("x"))
            );
        }
        assert!(split(&list("ServiceList", b""), 3).unwrap().0.is_empty());
    }

    #[test]
    fn what_breaks_off_or_is_not_a_list_is_an_error() {
        let whole = list("ServiceList", &field(2, b"one"));
        // What comes after the list is empty, and may be missing.
        for length in 0..whole.len() - 4 {
            assert!(split(&whole[..length], 5).is_err(), "{length} bytes");
        }
        for wrong in [list("NodeList", b""), list("Service", b""), b"k8s\0\x0b".to_vec(), b"{}{}{}".to_vec()]
        {
            assert!(split(&wrong, 5).is_err(), "{wrong:?}");
        }
        // An item that is longer than the list.
        let long = [protobuf::MAGIC, &[0x12, 2, 0x12, 3], b"abc"].concat();
        assert!(split(&long, 5).is_err());
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut splitter = ProtobufSplitter::default();
        let huge = [protobuf::MAGIC, &[0x12, 0xff, 0xff, 0xff, 0x7f, 0x12, 0xff, 0xff, 0xff, 0x0f]].concat();
        assert!(splitter.feed(&huge, &mut |_| Ok(())).is_err());
    }
}
