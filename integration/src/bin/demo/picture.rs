//! Pictures of traffic: boxes from left to right, and a tree of its targets.
//!
//! ```text
//!   ╭───────────╮     ╭─────────────────────╮   ╭─▶ pod-python    ████████ 31
//!   │ pod-nginx │────▶│ service-python:3000 │───┼─▶ pod-python-2  ███████ 28
//!   ╰───────────╯     ╰─────────────────────╯   ╰─▶ pod-python-3  ████████ 31
//! ```

/// Rows of equal width, to be placed side by side; `joint` is the row where arrows enter and leave.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    rows: Vec<String>,
    joint: usize,
}

impl Picture {
    /// A box with these lines in it.
    pub(crate) fn boxed(lines: &[&str]) -> Self {
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let edge = "─".repeat(width + 2);
        let mut rows = vec![format!("╭{edge}╮")];
        rows.extend(lines.iter().map(|line| format!("│ {} │", padded(line, width))));
        rows.push(format!("╰{edge}╯"));
        Self { joint: rows.len() / 2, rows }
    }

    /// One line of text.
    pub(crate) fn text(line: &str) -> Self {
        Self { rows: vec![format!(" {line}")], joint: 0 }
    }

    /// A tree of targets; a single target is a plain arrow.
    pub(crate) fn targets(targets: &[String]) -> Self {
        let width = targets.iter().map(|target| target.chars().count()).max().unwrap_or(0);
        let last = targets.len().saturating_sub(1);
        let joint = targets.len() / 2;
        let rows = targets.iter().enumerate().map(|(row, target)| {
            // The lines that meet in this row: the arrow from the left at the joint, branches up and down.
            let branch = match (row == joint, row == 0, row == last) {
                (true, true, true) => '─',
                (true, true, false) => '┬',
                (true, false, true) => '┴',
                (true, false, false) => '┼',
                (false, true, _) => '╭',
                (false, _, true) => '╰',
                (false, false, false) => '├',
            };
            format!("{branch}─▶ {}", padded(target, width))
        });
        Self { rows: rows.collect(), joint }
    }

    /// This picture, an arrow that ends in `head`, and the other.
    pub(crate) fn to(self, head: &str, other: Self) -> Self {
        let arrow = format!("───{head}");
        let gap = " ".repeat(arrow.chars().count());
        let joint = self.joint.max(other.joint);
        let (left, right) = (self.shifted(joint), other.shifted(joint));
        let height = left.rows.len().max(right.rows.len());
        let row = |picture: &Self, row: usize| {
            let width = picture.rows.first().map_or(0, |row| row.chars().count());
            picture.rows.get(row).cloned().unwrap_or_else(|| " ".repeat(width))
        };
        let rows = (0..height).map(|number| {
            let between = if number == joint { &arrow } else { &gap };
            format!("{}{between}{}", row(&left, number), row(&right, number))
        });
        Self { rows: rows.collect(), joint }
    }

    /// Adds empty rows on top, so that the joint is in the given row.
    fn shifted(mut self, joint: usize) -> Self {
        let width = self.rows.first().map_or(0, |row| row.chars().count());
        let missing = joint.saturating_sub(self.joint);
        self.rows.splice(0..0, std::iter::repeat_n(" ".repeat(width), missing));
        self.joint = joint;
        self
    }

    /// The rows, without trailing blanks.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|row| row.trim_end())
    }
}

/// A bar of `count`, where `full` would be 24 blocks wide, and the number.
pub(crate) fn bar(count: u32, full: u32) -> String {
    // Eighths of a block: the last block is as wide as the remainder.
    let eighths = (count * 24 * 8).checked_div(full).unwrap_or(0);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths as usize % 8).copied().unwrap_or("");
    format!("{}{rest} {count}", "█".repeat(eighths as usize / 8))
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.chars().count())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_targets_meet_in_one_row() {
        let targets = ["one".to_owned(), "two".to_owned(), "three".to_owned()];
        let picture = Picture::boxed(&["client"])
            .to("▶", Picture::boxed(&["service"]))
            .to("", Picture::targets(&targets));
        let rows: Vec<_> = picture.rows().collect();
        let expected = [
            "╭────────╮    ╭─────────╮   ╭─▶ one",
            "│ client │───▶│ service │───┼─▶ two",
            "╰────────╯    ╰─────────╯   ╰─▶ three",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(12, 24), "████████████ 12");
        assert_eq!(bar(0, 24), " 0");
        assert_eq!(bar(1, 48), "▌ 1");
    }
}
