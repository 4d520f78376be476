//! A list as it arrives, taken apart without ever being held as a whole.
//!
//! A server that ignores `limit` (resource version 0 is answered from its cache, in one piece) sends tens of
//! megabytes. Only the object that is being received is kept.

use serde::Deserialize;

use super::failure::Failure;

/// `metadata` of a list (`ListMeta`).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMeta {
    /// `resourceVersion`: where a watch continues.
    pub resource_version: Option<Box<str>>,
    /// `continue`: asks for the next page; nothing, or empty, on the last.
    pub r#continue: Option<Box<str>>,
}

/// Whether a byte belongs to a string, where brackets mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

/// Takes the JSON of a list apart: finds where its objects begin and end, and leaves reading them to `serde_json`.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// Of the part that is being received, what came so far.
    part: Vec<u8>,
    depth: u32,
    text: Text,
    /// The last string directly in the list: before a value it is the value's key.
    key: Vec<u8>,
    in_items: bool,
    meta: ListMeta,
    complete: bool,
}

impl Splitter {
    /// Takes what arrived, and gives each object that is complete.
    ///
    /// # Errors
    /// This cannot be a list.
    pub fn feed(&mut self, bytes: &[u8], item: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        for &byte in bytes {
            self.step(byte, item)?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8, item: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        if self.keeps() {
            self.part.push(byte);
        }
        if self.text != Text::Outside {
            self.text = match (self.text, byte) {
                (Text::Inside, b'"') => Text::Outside,
                (Text::Inside, b'\\') => Text::Escaped,
                _ => Text::Inside,
            };
            if self.depth == 1 && self.text != Text::Outside {
                self.key.push(byte);
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.text = Text::Inside;
                if self.depth == 1 {
                    self.key.clear();
                }
            }
            b'{' | b'[' => {
                if self.depth == 0 && (byte == b'[' || self.complete) {
                    return Err(Failure::Garbled("it is not one object".into()));
                }
                if self.depth == 1 {
                    self.in_items = byte == b'[' && self.key == b"items";
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
                    .ok_or_else(|| Failure::Garbled("a bracket closes that was never opened".into()))?;
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

    /// Whether what comes belongs to an object of the list, or to its metadata.
    fn keeps(&self) -> bool {
        if self.in_items { self.depth >= 3 } else { self.depth >= 2 && self.key == b"metadata" }
    }

    fn end_part(&mut self, item: &mut dyn FnMut(&[u8])) -> Result<(), Failure> {
        if self.in_items {
            item(&self.part);
        } else {
            let meta = serde_json::from_slice(&self.part);
            self.meta = meta.map_err(|error| Failure::Garbled(format!("metadata of the list: {error}")))?;
        }
        Ok(())
    }

    /// The list's metadata, after its end.
    ///
    /// # Errors
    /// The list broke off.
    pub fn finish(self) -> Result<ListMeta, Failure> {
        if self.complete { Ok(self.meta) } else { Err(Failure::Garbled("the list breaks off".into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, size: usize) -> Result<(Vec<String>, String, String), Failure> {
        let mut splitter = Splitter::default();
        let mut items = Vec::new();
        for chunk in text.as_bytes().chunks(size) {
            splitter.feed(chunk, &mut |item| items.push(String::from_utf8(item.to_vec()).unwrap()))?;
        }
        let meta = splitter.finish()?;
        let text = |field: Option<Box<str>>| field.unwrap_or_default().into();
        Ok((items, text(meta.resource_version), text(meta.r#continue)))
    }

    #[test]
    fn objects_are_found_however_the_text_is_cut() {
        let text = r#" {"kind":"List","metadata":{"resourceVersion":"7","continue":"x"},"a":[{"b":[1]}],
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
        let later = r#"{"items":[{}],"metadata":{"resourceVersion":"8"}}"#;
        assert_eq!(split(later, 5), Ok((vec!["{}".to_owned()], "8".to_owned(), String::new())));
        // An empty list is written so by Go.
        let empty = r#"{"metadata":{"resourceVersion":"9","continue":null},"items":null}"#;
        assert_eq!(split(empty, 5), Ok((vec![], "9".to_owned(), String::new())));
    }

    #[test]
    fn what_breaks_off_or_is_no_list_is_an_error() {
        for text in ["", "{", r#"{"items":[{}"#, r#"{"items":[{}]"#, "[]", "}", "{}{}", "{}]", "<html>"] {
            assert!(split(text, 3).is_err(), "{text}");
        }
    }
}
