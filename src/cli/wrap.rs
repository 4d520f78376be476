//! Wraps lines for people.

/// The width of text that is printed for people, in columns.
pub const WIDTH: usize = 80;

/// Number of spaces by which the rest of a long line is indented beyond the line's beginning.
const HANGING: usize = 4;

/// Breaks lines that are longer than [`WIDTH`] between words, and words that are longer than a line. Colour codes take
/// no room.
pub fn wrap(text: &str) -> String {
    let mut wrapped = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        wrap_line(&mut wrapped, line);
    }
    wrapped
}

fn wrap_line(out: &mut String, line: &str) {
    let body = line.trim_end_matches('\n');
    if width(body) <= WIDTH {
        out.push_str(line);
        return;
    }
    let indent = body.chars().take_while(|c| *c == ' ').count();
    let indent = " ".repeat((indent + HANGING).min(WIDTH / 2));
    let (mut column, mut is_begun) = (0, false);
    for (at, word) in body.split(' ').enumerate() {
        if column + 1 + width(word) > WIDTH && column > indent.len() {
            next_line(out, &indent, &mut column);
            is_begun = true;
        } else if at > 0 && !(is_begun && column == indent.len()) {
            out.push(' ');
            column += 1;
        }
        for piece in pieces(word) {
            let taken = width(piece);
            if column + taken > WIDTH {
                next_line(out, &indent, &mut column);
                is_begun = true;
            }
            out.push_str(piece);
            column += taken;
        }
    }
    out.push_str(&line[body.len()..]);
}

fn next_line(out: &mut String, indent: &str, column: &mut usize) {
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
    out.push_str(indent);
    *column = indent.len();
}

/// Splits text into letters and colour codes. A code begins with an escape character and ends with its first letter.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.split_inclusive(move |letter: char| {
        is_code = letter == '\u{1b}' || (is_code && !letter.is_ascii_alphabetic());
        !is_code
    })
}

fn width(text: &str) -> usize {
    pieces(text).filter(|piece| !piece.starts_with('\u{1b}')).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_lines_are_broken_between_words_and_long_words_within() {
        let short = "  short   columns  stay\n\n";
        assert_eq!(wrap(short), short);
        let line = format!("  {} {}\n", "a".repeat(50), "b".repeat(50));
        assert_eq!(wrap(&line), format!("  {}\n      {}\n", "a".repeat(50), "b".repeat(50)));
        let word = "c".repeat(100);
        assert_eq!(wrap(&word), format!("{}\n    {}", "c".repeat(80), "c".repeat(20)));
        let coloured = format!("\u{1b}[1m{}\u{1b}[0m", "d".repeat(80));
        assert_eq!(wrap(&coloured), coloured);
    }

    proptest! {
        #[test]
        fn no_line_is_longer_and_nothing_is_lost(text in "([a-zA-Z0-9é█/.:]{0,100}|\u{1b}\\[1m| {1,5}|\n){0,60}") {
            let wrapped = wrap(&text);
            for line in wrapped.lines() {
                prop_assert!(width(line) <= WIDTH, "{line:?}");
            }
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(bare(&wrapped), bare(&text));
            prop_assert_eq!(wrap(&wrapped).lines().count(), wrapped.lines().count());
        }
    }
}
