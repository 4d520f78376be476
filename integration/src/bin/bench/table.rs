//! Figures as Markdown and JSON.

use std::fmt::Write as _;

use portolan_integration::markdown::thousands;
use serde_json::{Value, json};

use super::{
    Result,
    figure::Figure,
    rows::{ROWS, Row},
};

/// A table: a row for everything that was measured, and a column for each number of Services.
pub fn markdown(sizes: &[u32], results: &[(u32, Figure)]) -> String {
    let mut text = String::from("| what |");
    for services in sizes {
        let _ = write!(text, " {} |", thousands(*services));
    }
    let _ = writeln!(text, " target |\n|---|{}---|", "---|".repeat(sizes.len()));
    for row in ROWS.iter().filter(|row| results.iter().any(|(_, figure)| figure.row == row.key)) {
        let _ = write!(text, "| {} |", row.what);
        for services in sizes {
            let _ = write!(text, " {} |", cell(row, *services, results));
        }
        let _ = writeln!(text, " {} |", targets(row, sizes));
    }
    text
}

fn find<'a>(row: &Row, services: u32, results: &'a [(u32, Figure)]) -> Option<&'a Figure> {
    results.iter().find(|(size, figure)| *size == services && figure.row == row.key).map(|(_, figure)| figure)
}

fn cell(row: &Row, services: u32, results: &[(u32, Figure)]) -> String {
    let Some(figure) = find(row, services, results) else { return "–".into() };
    let mut text = row.unit.show(figure.value);
    if !figure.detail.is_empty() {
        let _ = write!(text, " ({})", figure.detail);
    }
    match row.target(services) {
        Some(target) if figure.value <= target => text += ", met",
        Some(_) => text += ", **missed**",
        None => {}
    }
    text
}

fn targets(row: &Row, sizes: &[u32]) -> String {
    let show = |target: Option<f64>| target.map_or_else(|| "–".into(), |target| row.unit.show(target));
    let targets: Vec<_> = sizes.iter().map(|services| show(row.target(*services))).collect();
    match targets.first() {
        Some(first) if targets.iter().all(|target| target == first) => match first.as_str() {
            "–" => "–".into(),
            first => format!("≤ {first}"),
        },
        _ => format!("≤ {}", targets.join(" / ")),
    }
}

/// The figures for programs: seconds, bytes, or plain numbers.
pub fn json(results: &[(u32, Figure)]) -> Value {
    let figure = |(services, figure): &(u32, Figure)| {
        let row = ROWS.iter().find(|row| row.key == figure.row);
        let target = row.and_then(|row| row.target(*services));
        json!({
            "row": figure.row,
            "what": row.map(|row| row.what),
            "services": services,
            "value": figure.value,
            "detail": figure.detail,
            "target": target,
            "met": target.map(|target| figure.value <= target),
        })
    };
    json!({
        "machine": portolan_integration::machine(),
        "figures": results.iter().map(figure).collect::<Vec<_>>(),
    })
}

/// Reads what [`json()`] wrote: the machine, and the figures.
pub fn from_json(text: &[u8]) -> Result<(String, Vec<(u32, Figure)>)> {
    let value: Value = serde_json::from_slice(text)?;
    let read = |value: &Value| {
        let services = u32::try_from(value["services"].as_u64()?).ok()?;
        let figure = Figure::new(value["row"].as_str()?, value["value"].as_f64()?);
        Some((services, figure.with(value["detail"].as_str()?)))
    };
    let figures = value["figures"].as_array().ok_or("a file without figures")?;
    let figures: Option<_> = figures.iter().map(read).collect();
    let machine = value["machine"].as_str().ok_or("a file without its machine")?;
    Ok((machine.to_owned(), figures.ok_or("a figure without row, services or value")?))
}
