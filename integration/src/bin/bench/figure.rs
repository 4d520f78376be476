//! One measured value.

use serde_json::{Value, json};

use super::Result;

/// One measured value, in seconds, bytes or as a plain number.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The key of its row.
    pub row: String,
    /// The value.
    pub value: f64,
    /// The parts of the value, or the floor that it is compared with: a few words for people.
    pub detail: String,
}

impl Figure {
    /// A value of a row, without any detail.
    pub fn new(row: impl Into<String>, value: f64) -> Self {
        Self { row: row.into(), value, detail: String::new() }
    }

    /// Adds a few words.
    #[must_use]
    pub fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }
}

/// Writes figures for another process.
pub fn to_json(figures: &[Figure]) -> Value {
    let object = |figure: &Figure| json!({"row": figure.row, "value": figure.value, "detail": figure.detail});
    figures.iter().map(object).collect()
}

/// Reads figures from another process.
pub fn from_json(text: &[u8]) -> Result<Vec<Figure>> {
    let values: Vec<Value> = serde_json::from_slice(text)?;
    let figure = |value: &Value| {
        let row = value["row"].as_str()?.to_owned();
        Some(Figure { row, value: value["value"].as_f64()?, detail: value["detail"].as_str()?.to_owned() })
    };
    let figures: Option<_> = values.iter().map(figure).collect();
    figures.ok_or_else(|| "figures that cannot be read".into())
}
