//! Splits a file into parts that can be read separately.

/// A document of a file, or some items of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub text: &'a str,
    /// Lines of the file before it.
    pub lines_before: u64,
    /// Which document of the file it is, counted from 1.
    pub document: usize,
    /// Items of the list before it.
    pub items_before: usize,
}

/// Splits a file at its document separators, and drops empty documents. A line that starts
/// with `---` is a separator wherever it stands: YAML does not allow it in a scalar, and JSON has no line
/// breaks in strings.
pub(super) fn documents(text: &str) -> Vec<Part<'_>> {
    let mut documents = Vec::new();
    let mut add = |text, lines_before| {
        if !is_blank(text) {
            let document = documents.len() + 1;
            documents.push(Part { text, lines_before, document, items_before: 0 });
        }
    };
    let (mut start, mut lines_before) = (0, 0);
    let (mut offset, mut lines) = (0, 0);
    for line in text.split_inclusive('\n') {
        if is_separator(line) {
            let before = text.get(start..offset).unwrap_or_default();
            // Directives (`%YAML 1.2`) stand before the separator of their own document.
            if !before.trim_start().starts_with('%') {
                add(before, lines_before);
                (start, lines_before) = (offset, lines);
            }
        }
        offset += line.len();
        lines += 1;
    }
    add(text.get(start..).unwrap_or_default(), lines_before);
    documents
}

/// Whether a line separates documents.
fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// A text without the separator that it may begin with.
pub(super) fn without_separator(text: &str) -> &str {
    if is_separator(text) { text.get(3..).unwrap_or_default() } else { text }
}

/// Whether there is nothing but comments, white space and separators.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = without_separator(line).trim();
        line.is_empty() || line.starts_with('#')
    })
}

/// A list as `kubectl get -o yaml` writes it, cut into pieces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List<'a> {
    /// The text around the items: the list's own `apiVersion`, `kind` and `metadata`.
    pub envelope: String,
    /// Consecutive items. With `items:` in the line before, each piece is a complete document.
    pub pieces: Vec<Part<'a>>,
}

/// Cuts a long list into pieces of about `size` bytes; `None` if the text does not look like a list.
///
/// Considers only the indentation: items begin at the same column, everything inside them is further right.
pub(super) fn list<'a>(part: &Part<'a>, size: usize) -> Option<List<'a>> {
    let mut lines = part.text.split_inclusive('\n');
    let (mut head, mut offset) = ("", 0);
    let mut number = 0;
    for line in lines.by_ref() {
        head = part.text.get(..offset)?;
        offset += line.len();
        number += 1;
        if line.trim_end() == "items:" {
            break;
        }
    }
    let start = offset;
    let indent = part.text.get(start..)?.len() - part.text.get(start..)?.trim_start_matches(' ').len();
    let mut pieces = Vec::new();
    let mut piece = Part { lines_before: part.lines_before + number, ..*part };
    let (mut piece_start, mut items) = (start, 0);
    let mut end = part.text.len();
    for line in lines {
        let content = line.trim_start_matches(' ');
        let is_item = line.len() - content.len() == indent && is_item(content);
        let is_inside =
            line.len() - content.len() > indent || content.trim().is_empty() || content.starts_with('#');
        if !is_item && !is_inside {
            end = offset;
            break;
        }
        if is_item && offset - piece_start >= size {
            piece.text = part.text.get(piece_start..offset)?;
            pieces.push(piece);
            piece.lines_before = part.lines_before + number;
            piece.items_before = items;
            piece_start = offset;
        }
        items += usize::from(is_item);
        offset += line.len();
        number += 1;
    }
    piece.text = part.text.get(piece_start..end)?;
    pieces.push(piece);
    let tail = part.text.get(end..)?;
    let has_more = tail.lines().any(|line| line.trim_start().starts_with("items"));
    (items > 0 && pieces.len() > 1 && !has_more).then(|| List { envelope: format!("{head}{tail}"), pieces })
}

/// Whether the text after a line's indentation begins an item of a list.
fn is_item(content: &str) -> bool {
    content.strip_prefix('-').is_some_and(|rest| rest.starts_with([' ', '\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Part<'_> {
        Part { text, lines_before: 10, document: 1, items_before: 0 }
    }

    #[test]
    fn documents_are_counted_and_know_their_line() {
        let text = "# nothing\n---\na: 1\n--- # x\nb: 2\n---\n---\nc: |\n  ---\n----\n";
        let documents = documents(text);
        let found: Vec<_> = documents.iter().map(|d| (d.document, d.lines_before, d.text)).collect();
        assert_eq!(
            found,
            [(1, 1, "---\na: 1\n"), (2, 3, "--- # x\nb: 2\n"), (3, 6, "---\nc: |\n  ---\n----\n"),]
        );
    }

    #[test]
    fn directives_belong_to_the_next_document() {
        let documents = documents("%YAML 1.2\n---\na: 1\n");
        assert_eq!(documents.len(), 1);
        assert_eq!(documents[0].lines_before, 0);
    }

    #[test]
    fn lists_are_cut_at_items() {
        for indent in ["", "  "] {
            let item = format!("{indent}- kind: x\n{indent}  list:\n{indent}  - y\n\n# comment\n");
            let text = format!("apiVersion: v1\nitems:\n{}kind: List\n", item.repeat(3));
            let list = list(&part(&text), 1).unwrap();
            assert_eq!(list.envelope, "apiVersion: v1\nkind: List\n");
            let found: Vec<_> =
                list.pieces.iter().map(|p| (p.items_before, p.lines_before, p.text)).collect();
            assert_eq!(found, [(0, 12, &*item), (1, 17, &*item), (2, 22, &*item)]);
        }
    }

    #[test]
    fn other_texts_are_not_cut() {
        for text in [
            "kind: Service\n",
            "items:\n",
            "items: [a, b]\nkind: List\n",
            "items:\n  a: b\n",
            "items:\n- a\nkind: List\n",
            "items:\n- a\n- b\nitems: []\n",
            "kind: x\nspec:\n  items:\n  - a\n  - b\n",
        ] {
            assert_eq!(list(&part(text), 1), None, "{text}");
        }
    }
}
