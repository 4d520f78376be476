//! Text for people.

/// The first of these, with commas, and how many more there are.
pub(crate) fn first(texts: &[impl AsRef<str>], most: usize) -> String {
    let shown = texts.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Text in one line: line breaks and other control characters of file names, labels and parsers' excerpts are escaped.
pub(crate) fn one_line(text: impl Into<String>) -> String {
    let text = text.into();
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
