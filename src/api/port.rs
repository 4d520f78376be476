//! Port numbers and protocols, as Services, slices and containers write them.

use std::fmt;

use portolan_rules::model::Protocol;

use super::{
    context::{FieldError, Result, read},
    field::{Field, quote},
    metadata::NameRule,
};

/// Reads one of a few words. An absent or empty field stands for the first word.
pub(super) fn choice<T: Copy>(
    field: &Field<Box<str>>,
    path: impl fmt::Display,
    choices: &[(&str, T)],
) -> Result<T> {
    let text = read(field, &path)?.map_or("", |text| text);
    let chosen = choices.iter().find(|(word, _)| text.is_empty() || *word == text);
    chosen.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        FieldError::new(path, format_args!("{} is not one of {}", quote(text), words.join(", ")))
    })
}

/// Reads a protocol.
pub(super) fn protocol(field: &Field<Box<str>>, path: impl fmt::Display) -> Result<Protocol> {
    choice(field, path, &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)])
}

/// Reads the name of a port; empty if absent.
pub(super) fn port_name(field: &Field<Box<str>>, path: impl fmt::Display) -> Result<&str> {
    let name = read(field, &path)?.map_or("", |text| text);
    if !name.is_empty() {
        NameRule::Label.check(name).map_err(|message| FieldError::new(path, message))?;
    }
    Ok(name)
}

/// A port number other than 0.
pub(super) fn port_number(number: i64, path: impl fmt::Display) -> Result<u16> {
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(FieldError::new(path, format_args!("{number} is not a port number from 1 to 65535"))),
    }
}
