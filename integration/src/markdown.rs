//! Figures, and tables of them, as Markdown.

use std::fmt::Write as _;

/// The cells of a row as `&str`.
pub fn strs(cells: &[String]) -> Vec<&str> {
    cells.iter().map(String::as_str).collect()
}

/// A row of a table.
pub fn line(text: &mut String, cells: &[&str]) {
    // Writing into a `String` does not fail.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// The row between the head of a table and its body.
pub fn rule(text: &mut String, columns: usize) {
    let _ = writeln!(text, "|{}", "---|".repeat(columns));
}

/// Formats 1.234 as 1.23.
pub fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Formats 1234567 as 1.2 MB.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

/// Formats 0.00123 as 1.2 ms.
pub fn seconds(value: f64) -> String {
    match value {
        1.0.. => format!("{value:.1} s"),
        0.01.. => format!("{:.0} ms", value * 1e3),
        0.001.. => format!("{:.1} ms", value * 1e3),
        _ => format!("{:.0} µs", value * 1e6),
    }
}

/// Formats 100000 as 100,000.
pub fn thousands(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
