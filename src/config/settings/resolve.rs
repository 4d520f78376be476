//! Combines flags and a configuration file into options, and has them checked.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::run::RunSettings;
use crate::config::{
    Effect, Error, Options, Origin, file,
    options::{HEALTHZ_BIND_ADDRESS, HEALTHZ_PORT, METRICS_BIND_ADDRESS, METRICS_PORT, MODE, Row, rows},
};

impl RunSettings {
    /// Reads the configuration file, if one is given, and checks everything. Touches nothing else. If `strict`, an
    /// unknown or repeated field of the file is an error.
    ///
    /// Beside a file, a flag counts only if the file has no field for it, if it overrides the file
    /// ([`Effect::Overrides`]), or if it is an empty server address.
    pub fn resolve(flags: &Options, config: Option<&Path>, strict: bool) -> Result<Self, Error> {
        let mut flags = flags.clone();
        let Some(path) = config.filter(|path| !path.as_os_str().is_empty()) else {
            complete_listener(&mut flags, &HEALTHZ_BIND_ADDRESS, &HEALTHZ_PORT);
            complete_listener(&mut flags, &METRICS_BIND_ADDRESS, &METRICS_PORT);
            return Self::check(&flags, Origin::default());
        };
        let (mut given, mut warnings) = file::read(path)?;
        if strict && !warnings.is_empty() {
            return Err(warnings.swap_remove(0));
        }
        let in_place_of = normalize(&mut given);
        if flags.text(&MODE).is_empty() {
            flags.set(&MODE, None);
        }
        let mut origin = Origin { file: Some(path.to_owned()), overridden: Vec::new(), in_place_of };
        for row in rows() {
            let overrides = matches!(row.effect, Effect::Overrides);
            if (overrides || row.field.is_empty())
                && let Some(value) = flags.set(row, None)
            {
                given.set(row, Some(value));
                origin.overridden.push(row.field);
            }
        }
        for row in [&HEALTHZ_BIND_ADDRESS, &METRICS_BIND_ADDRESS] {
            // An empty flag asks for no server. A file cannot do that: there an empty field has its default.
            if flags.get(row).is_some_and(|flag| flag == "") {
                let none = flags.set(row, None);
                given.set(row, none);
            } else if given.text(row).is_empty() {
                given.set(row, None);
            }
        }
        let mut settings = Self::check(&given, origin)?;
        let beside = rows().filter(|row| flags.get(row).is_some());
        settings.without_effect.extend(beside.map(|row| Origin::default().short_name(row)));
        settings.warnings = warnings;
        Ok(settings)
    }
}

/// Gives the fields of a file the meaning that they have for kube-proxy: zero is the default of a period, and fields of
/// the `iptables` section are in force where the `nftables` section lacks a value, unless the mode is nftables.
/// (kube-proxy's default mode is iptables, and its ipvs mode reads that section, too.) Returns the fields that are in
/// force in place of others.
fn normalize(file: &mut Options) -> Vec<(&'static str, &'static str)> {
    let is_nftables = file.text(&MODE) == "nftables";
    let mut in_place_of = Vec::new();
    for row in rows() {
        let Effect::InPlaceOf(other, _) = row.effect else { continue };
        for row in [row, other] {
            // Zero means no value, except for a number, such as the number of a bit.
            if file.get(row).is_some_and(|value| *value == false || *value == "0s") {
                file.set(row, None);
            }
        }
        if !is_nftables
            && file.get(other).is_none()
            && let Some(value) = file.set(row, None)
        {
            file.set(other, Some(value));
            in_place_of.push((other.field, row.field));
        }
    }
    in_place_of
}

/// Completes the address of a server whose port is given separately, as kube-proxy's deprecated flags do. The port is
/// for an address without a port, and 0 means no server.
fn complete_listener(flags: &mut Options, address: &Row, port: &Row) {
    let Some(port) = flags.get(port).map(|_| flags.number(port)) else { return };
    let complete = match (port, flags.text(address).parse::<IpAddr>()) {
        (0, _) => String::new(),
        (port, Ok(ip)) => SocketAddr::new(ip, port).to_string(),
        _ => return,
    };
    flags.set(address, Some(complete.into()));
}
