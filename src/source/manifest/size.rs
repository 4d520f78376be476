//! How large an object may be.

use super::split::{self, Part};

/// Longest object, in bytes, without the text around it. The default limit of etcd is 1.5 MiB.
pub(super) const OBJECT: usize = 4 << 20;

/// Deepest nesting of JSON that is checked here; the parser refuses deeper nesting.
const JSON_DEPTH: usize = 128;

/// How deeply mappings and lists of YAML may be nested: manifests need 20 levels, the schemas of custom
/// resource definitions twice that. Half of [`JSON_DEPTH`], since each level takes more stack.
pub(super) const YAML_DEPTH: usize = 64;

/// The line, counted from 1 in the file, of an object of a document that is larger than `limit` ([`OBJECT`]).
pub(super) fn oversized_by(part: &Part<'_>, limit: usize) -> Option<u64> {
    if part.text.len() <= limit {
        return None;
    }
    let text = part.text;
    let body = split::without_separator(text);
    if body.trim_start().starts_with('{') {
        let offset = text.len() - body.len() + oversized_json(body.as_bytes(), limit)?;
        let before = text.as_bytes().get(..offset).unwrap_or_default();
        return Some(part.lines_before + before.split(|byte| *byte == b'\n').count() as u64);
    }
    // Items count separately; a document that is not such a list is one object.
    let Some(list) = split::list(part, 1) else { return Some(part.lines_before + 1) };
    if list.envelope.len() > limit {
        return Some(part.lines_before + 1);
    }
    list.pieces.iter().find(|item| item.text.len() > limit).map(|item| item.lines_before + 1)
}

/// A bracket that is open.
struct Open {
    at: usize,
    /// Whether it is a separate object: the document, or an element of `items`.
    is_object: bool,
    /// Whether it is a list with the key `items`.
    is_items: bool,
    /// Bytes of the objects inside, which are counted separately.
    inside: usize,
}

/// The offset of the first object that is found to be too large, among the objects of a JSON text and the elements of
/// their `items`. For texts that are not JSON, the result means nothing: the parser decides.
fn oversized_json(text: &[u8], limit: usize) -> Option<usize> {
    let mut open: Vec<Open> = Vec::new();
    // The last text, which is the key of the value after a colon.
    let (mut last_text, mut after_colon) = (0..0, false);
    let mut at = 0;
    while let Some(byte) = text.get(at).copied() {
        match byte {
            b'"' => {
                let start = at + 1;
                at = start;
                while let Some(inner) = text.get(at).filter(|byte| **byte != b'"') {
                    at += if *inner == b'\\' { 2 } else { 1 };
                }
                (last_text, after_colon) = (start..at, false);
            }
            b':' => after_colon = true,
            b'{' | b'[' => {
                let is_object = byte == b'{' && open.last().is_none_or(|outer| outer.is_items);
                let key = text.get(last_text.clone()).unwrap_or_default();
                let is_items = byte == b'[' && after_colon && key == b"items";
                if open.len() == JSON_DEPTH {
                    return None;
                }
                open.push(Open { at, is_object, is_items, inside: 0 });
                after_colon = false;
            }
            b'}' | b']' => {
                let closed = open.pop()?;
                let length = at + 1 - closed.at;
                if closed.is_object && length - closed.inside.min(length) > limit {
                    return Some(closed.at);
                }
                let counted = if closed.is_object || closed.is_items { length } else { closed.inside };
                if let Some(outer) = open.last_mut() {
                    outer.inside += counted;
                }
                after_colon = false;
            }
            b',' => after_colon = false,
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Part<'_> {
        Part { text, lines_before: 10, document: 1, items_before: 0 }
    }

    #[test]
    fn only_the_objects_of_a_list_count() {
        let item = "  {\"kind\": \"Pod\", \"spec\": {\"items\": [1, 2], \"x\": \"]}\\\"\"}}";
        let list =
            |items: &[&str]| format!("{{\"kind\": \"List\",\n\"items\": [\n{}\n]}}", items.join(",\n"));
        let text = list(&[item; 50]);
        assert_eq!(oversized_by(&part(&text), item.len()), None);
        assert_eq!(oversized_by(&part(&text), 40), Some(13));

        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(100));
        assert_eq!(oversized_by(&part(&list(&[item, &large, item])), 80), Some(14));
        assert_eq!(oversized_by(&part(&list(&[item, &list(&[item; 9])])), 80), None);
        // Other lists than `items` belong to their object.
        assert_eq!(oversized_by(&part(&text.replace("\"items\": [\n", "\"data\": [\n")), 80), Some(11));
        assert_eq!(oversized_by(&part(&format!("--- {large}")), 80), Some(11));
        assert_eq!(oversized_by(&part(&"[".repeat(1000)), 80), Some(11));
        assert_eq!(oversized_by(&part(&"{\"a\":".repeat(1000)), 80), None);
    }

    #[test]
    fn items_of_yaml_count_each() {
        let item = "- kind: Pod\n  spec: x\n";
        let text = format!("apiVersion: v1\nitems:\n{}kind: List\n", item.repeat(20));
        assert_eq!(oversized_by(&part(&text), 40), None);
        let large = text.replacen("spec: x", &format!("spec: {}", "x".repeat(50)), 1);
        assert_eq!(oversized_by(&part(&large), 40), Some(13));
        assert_eq!(oversized_by(&part(&"a: b\n".repeat(20)), 40), Some(11));
    }
}
