//! Aligns the cells of lines in columns.

use std::borrow::Cow;

/// Number of spaces between columns, as in kubectl's tables.
pub const GAP: usize = 3;

/// Lines of cells. Their text is in one string, since there may be hundreds of thousands of lines.
#[derive(Debug, Default)]
pub struct Columns {
    text: String,
    /// Where each cell ends in the text.
    cells: Vec<usize>,
    /// Where each line ends among the cells.
    lines: Vec<usize>,
    /// The width of each column.
    widths: Vec<usize>,
}

impl Columns {
    /// Adds a line.
    pub fn push<C: AsRef<str>>(&mut self, line: impl IntoIterator<Item = C>) {
        for (column, cell) in line.into_iter().enumerate() {
            let cell = cell.as_ref();
            self.text.push_str(cell);
            self.cells.push(self.text.len());
            match self.widths.get_mut(column) {
                Some(widest) => *widest = width(cell).max(*widest),
                None => self.widths.push(width(cell)),
            }
        }
        self.lines.push(self.cells.len());
    }
}

impl<C: AsRef<str>, L: IntoIterator<Item = C>> FromIterator<L> for Columns {
    fn from_iter<I: IntoIterator<Item = L>>(lines: I) -> Self {
        let mut columns = Self::default();
        lines.into_iter().for_each(|line| columns.push(line));
        columns
    }
}

/// Returns the text of all lines of these parts, with `gap` spaces between columns and no spaces at the end of a line.
pub fn align(parts: &[Columns], gap: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for part in parts {
        widths.resize(widths.len().max(part.widths.len()), 0);
        part.widths.iter().zip(&mut widths).for_each(|(width, widest)| *widest = *width.max(widest));
    }
    let longest = widths.iter().map(|width| width + gap).sum::<usize>();
    let all_blank = " ".repeat(longest);
    let mut text = String::with_capacity(parts.iter().map(|part| part.lines.len()).sum::<usize>() * longest);
    for Columns { text: cells, cells: ends, lines, .. } in parts {
        let (mut ends, mut start, mut before) = (ends.iter(), 0, 0);
        for line in lines {
            // Spaces are written only before text.
            let mut blanks = 0;
            for (end, widest) in ends.by_ref().take(line - before).zip(&widths) {
                let cell = cells.get(start..*end).unwrap_or_default();
                if !cell.is_empty() {
                    text.push_str(all_blank.get(..blanks).unwrap_or_default());
                    text.push_str(cell);
                    blanks = 0;
                }
                blanks += widest - width(cell) + gap;
                start = *end;
            }
            text.push('\n');
            before = *line;
        }
    }
    text
}

/// Returns the cell of a value, or `-` if the value is unknown.
pub fn or_dash<T: ToString>(value: Option<T>) -> Cow<'static, str> {
    value.map_or("-".into(), |value| value.to_string().into())
}

fn width(cell: &str) -> usize {
    if cell.is_ascii() { cell.len() } else { cell.chars().count() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_one_width_and_no_blanks_at_the_end() {
        let columns = Columns::from_iter([vec!["NAME", "AGE"], vec!["a", "1"], vec!["longer", ""]]);
        assert_eq!(align(&[columns], GAP), "NAME     AGE\na        1\nlonger\n");
        assert_eq!(align(&[], GAP), "");
    }

    #[test]
    fn parts_have_the_same_columns() {
        let heads = Columns::from_iter([["A", "B"]]);
        let lines = Columns::from_iter([vec!["ä"], vec!["long", "x", "y"]]);
        assert_eq!(align(&[heads, Columns::default(), lines], 1), "A    B\nä\nlong x y\n");
    }
}
