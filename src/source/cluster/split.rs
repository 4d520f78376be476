//! Splits a list into its objects as it arrives, without ever holding the whole list.
//!
//! A server that ignores `limit` (resource version 0 is answered from its cache, in one piece) sends tens of
//! megabytes. Only the object that is being received is kept.

pub(super) mod protobuf;

use serde::Deserialize;

use super::{error::RequestError, request::LONGEST_OBJECT};

/// `metadata` of a list (`ListMeta`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    /// `resourceVersion`: where a watch continues.
    pub resource_version: Option<Box<str>>,
    /// `continue`: requests the next page; missing or empty on the last page.
    pub r#continue: Option<Box<str>>,
}

/// Receives the objects of a list as they are read.
pub(super) type Item<'a> = dyn FnMut(&[u8]) -> Result<(), RequestError> + 'a;

/// Whether a byte belongs to a string, where brackets mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// Deepest nesting. `serde_json` reads no object that is deeper.
const DEEPEST: u32 = 128;

/// How many bytes of a key or text directly in a list are looked at.
const LONGEST_KEY: usize = 64;

/// Splits the JSON of a list: finds where its objects begin and end, and leaves reading them to `serde_json`.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// The bytes of the current part that have been received.
    part: Vec<u8>,
    depth: u32,
    text: Text,
    /// The last text directly in the list.
    last: Vec<u8>,
    /// The key of the value that is being received.
    key: Vec<u8>,
    kind: Option<Vec<u8>>,
    /// Whether `items` is there, as an array or null.
    has_items: bool,
    in_items: bool,
    meta: ListMeta,
    complete: bool,
}

impl Splitter {
    /// Takes the bytes that arrived, and passes each complete object to `item`.
    ///
    /// # Errors
    /// The bytes cannot be a list, or `item` refuses an object.
    pub fn feed(&mut self, bytes: &[u8], item: &mut Item<'_>) -> Result<(), RequestError> {
        for &byte in bytes {
            self.step(byte, item)?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, item: &mut Item<'_>) -> Result<(), RequestError> {
        if self.keeps() {
            self.part.push(byte);
            if self.part.len() > LONGEST_OBJECT {
                return Err(RequestError::malformed("an object of the list is longer than 4 MiB"));
            }
        }
        if self.text != Text::Outside {
            self.text = match (self.text, byte) {
                (Text::Inside, b'"') => Text::Outside,
                (Text::Inside, b'\\') => Text::Escaped,
                _ => Text::Inside,
            };
            if self.depth == 1 {
                if self.text != Text::Outside {
                    self.last.truncate(LONGEST_KEY);
                    self.last.push(byte);
                } else if self.key == b"kind" {
                    self.kind = Some(self.last.clone());
                }
            }
            return Ok(());
        }
        let is_between = byte.is_ascii_whitespace() || matches!(byte, b',' | b'{' | b'}' | b']');
        if self.in_items && self.depth == 2 && !is_between {
            return Err(RequestError::malformed("an item is not an object"));
        }
        match byte {
            b'"' => {
                self.text = Text::Inside;
                if self.depth == 1 {
                    self.last.clear();
                }
            }
            b':' if self.depth == 1 => self.key = std::mem::take(&mut self.last),
            b',' if self.depth == 1 => self.key.clear(),
            // Go writes an empty list as null.
            b'n' if self.depth == 1 && self.key == b"items" => self.has_items = true,
            b'{' | b'[' => {
                if self.depth == 0 && (byte == b'[' || self.complete) || self.depth == DEEPEST {
                    return Err(RequestError::malformed("it is not one object"));
                }
                if self.depth == 1 && byte == b'[' && self.key == b"items" {
                    (self.has_items, self.in_items) = (true, true);
                }
                let begins = !self.keeps();
                self.depth += 1;
                if begins && self.keeps() {
                    self.part.clear();
                    self.part.push(byte);
                }
            }
            b'}' | b']' => {
                let ended = self.keeps();
                self.depth = self
                    .depth
                    .checked_sub(1)
                    .ok_or_else(|| RequestError::malformed("a closing bracket has no opening bracket"))?;
                if ended && !self.keeps() {
                    self.end_part(item)?;
                }
                self.in_items &= self.depth >= 2;
                self.complete = self.depth == 0;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the next byte belongs to an object of the list, or to the list's metadata.
    fn keeps(&self) -> bool {
        if self.in_items { self.depth >= 3 } else { self.depth >= 2 && self.key == b"metadata" }
    }

    fn end_part(&mut self, item: &mut Item<'_>) -> Result<(), RequestError> {
        if self.in_items {
            return item(&self.part);
        }
        let meta = serde_json::from_slice(&self.part);
        self.meta =
            meta.map_err(|error| RequestError::malformed(format_args!("metadata of the list: {error}")))?;
        Ok(())
    }

    /// The metadata of a list of this kind, after its end.
    ///
    /// # Errors
    /// The list was cut off, or is not a list of this kind.
    pub fn finish(self, kind: &str) -> Result<ListMeta, RequestError> {
        if !self.complete {
            return Err(RequestError::malformed("the list is cut off"));
        }
        check_kind(&self.kind.unwrap_or_default(), kind)?;
        if self.has_items { Ok(self.meta) } else { Err(RequestError::malformed("the list has no items")) }
    }
}

/// Checks that a list has the kind of a list of these objects.
fn check_kind(found: &[u8], kind: &str) -> Result<(), RequestError> {
    if found.strip_suffix(b"List") == Some(kind.as_bytes()) {
        return Ok(());
    }
    let found = String::from_utf8_lossy(found);
    Err(RequestError::malformed(format_args!("its kind is {found:?} and not \"{kind}List\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> Result<(Vec<String>, String, String), RequestError> {
        let mut splitter = Splitter::default();
        let mut items = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            splitter.feed(chunk, &mut |item| {
                items.push(String::from_utf8(item.to_vec()).unwrap());
                Ok(())
            })?;
        }
        let meta = splitter.finish("Service")?;
        let text = |field: Option<Box<str>>| field.unwrap_or_default().into();
        Ok((items, text(meta.resource_version), text(meta.r#continue)))
    }

    #[test]
    fn objects_are_found_however_the_text_is_cut() {
        let text = r#" {"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":"x"},"a":[{"b":[1]}],
            "items":[{"metadata":{"name":"}\"]\\"},"l":[[],{}]} , {"items":[{}]}],"z":"items"}
"#;
        let expected = (
            vec![r#"{"metadata":{"name":"}\"]\\"},"l":[[],{}]}"#.to_owned(), r#"{"items":[{}]}"#.to_owned()],
            "7".to_owned(),
            "x".to_owned(),
        );
        for size in [1, 2, 3, 7, 50, 1000] {
            assert_eq!(split(text, size), Ok(expected.clone()), "{size} bytes at once");
        }
        // The order of keys means nothing.
        let later = r#"{"items":[{}],"metadata":{"resourceVersion":"8"},"kind":"ServiceList"}"#;
        assert_eq!(split(later, 5), Ok((vec!["{}".to_owned()], "8".to_owned(), String::new())));
        // Go writes an empty list as null.
        let empty =
            r#"{"kind": "ServiceList", "metadata":{"resourceVersion":"9","continue":null},"items": null}"#;
        assert_eq!(split(empty, 5), Ok((vec![], "9".to_owned(), String::new())));
    }

    #[test]
    fn what_breaks_off_or_is_not_a_list_is_an_error() {
        let deep = format!(r#"{{"kind":"ServiceList","items":[],"x":{}"#, "[".repeat(1000));
        for text in [
            "",
            "{",
            r#"{"kind":"ServiceList","items":[{}"#,
            r#"{"kind":"ServiceList","items":[{}]"#,
            "[]",
            "}",
            "{}{}",
            "{}]",
            "<html>",
            r#"{"metadata":{"resourceVersion":"1"},"items":[]}"#,
            r#"{"kind":"Status","metadata":{"resourceVersion":"1"},"items":[]}"#,
            r#"{"kind":"NodeList","metadata":{"resourceVersion":"1"},"items":[]}"#,
            r#"{"kind":"Service","metadata":{"resourceVersion":"1"},"items":[]}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"}}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"x":{"items":[]}}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":{}}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[null]}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":["web"]}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[7]}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[[]]}"#,
            r#"{"kind":"ServiceList","metadata":[],"items":[]}"#,
            &deep,
        ] {
            assert!(split(text, 3).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut splitter = Splitter::default();
        let mut none = |_: &[u8]| Ok(());
        splitter.feed(br#"{"kind":"ServiceList","items":[{"a":""#, &mut none).unwrap();
        let failed = (0..5).any(|_| splitter.feed(&vec![b'x'; 1 << 20], &mut none).is_err());
        assert!(failed, "an item of 5 MiB");
        let mut splitter = Splitter::default();
        splitter.feed(br#"{"kind":"ServiceList","apiVersion":""#, &mut none).unwrap();
        splitter.feed(&vec![b'x'; 1 << 20], &mut none).unwrap();
        assert!(splitter.last.capacity() < 1024 && splitter.part.capacity() < 1024);
    }
}
