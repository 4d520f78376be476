//! Port numbers and protocols, as Services, slices and containers write them.

use std::fmt;

use portolan_rules::model::Protocol;

use super::{
    context::{FieldError, read},
    field::{Field, quote},
    metadata::NameRule,
};

/// Reads a protocol; TCP if absent or empty.
pub(super) fn protocol(field: &Field<Box<str>>, path: impl fmt::Display) -> Result<Protocol, FieldError> {
    match read(field, &path)?.map_or("", |text| text) {
        "TCP" | "" => Ok(Protocol::Tcp),
        "UDP" => Ok(Protocol::Udp),
        "SCTP" => Ok(Protocol::Sctp),
        other => Err(FieldError::new(path, format_args!("{} is not one of TCP, UDP, SCTP", quote(other)))),
    }
}

/// Reads the name of a port; empty if absent.
pub(super) fn port_name(field: &Field<Box<str>>, path: impl fmt::Display) -> Result<&str, FieldError> {
    let name = read(field, &path)?.map_or("", |text| text);
    if !name.is_empty() {
        NameRule::Label.check(name).map_err(|message| FieldError::new(path, message))?;
    }
    Ok(name)
}

/// A port number other than 0.
pub(super) fn port_number(number: i64, path: impl fmt::Display) -> Result<u16, FieldError> {
    match u16::try_from(number) {
        Ok(port @ 1..) => Ok(port),
        _ => Err(FieldError::new(path, format_args!("{number} is not a port number from 1 to 65535"))),
    }
}
