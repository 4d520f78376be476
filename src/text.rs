//! Text for people.

/// Joins the first `most` texts with commas, and adds how many more there are.
pub(crate) fn first(texts: &[impl AsRef<str>], most: usize) -> String {
    let shown = texts.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match texts.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Escapes line breaks and other control characters, so that the text stays on one line. They may come from file names,
/// labels and parsers' excerpts.
pub(crate) fn one_line(text: impl Into<String>) -> String {
    let text = text.into();
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}
