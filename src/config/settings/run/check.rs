//! From options to settings.

use std::net::{IpAddr, SocketAddr};

use portolan_rules::node_ports::{NodePortAddresses, NodePortAddressesError};

use super::{ApiSettings, ConntrackSettings, LoggingSettings, RunSettings, SyncSettings, Wish};
use crate::config::{
    Duration, Effect, Error, Options, Origin, Place, Quantity, ROWS, Row,
    changes::text,
    settings::{Settings, masquerade_bit},
};

/// Longest timeout of connection tracking: the kernel counts it in ticks, of which there are 100 a second at least,
/// in 31 bits (`proc_dointvec_jiffies`).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(i32::MAX as i64 / 100);

impl Options {
    /// Gives the fields of a file the meaning that they have for kube-proxy: zero is the default of a period, and the
    /// `iptables` section is in force where `nftables` is silent, unless the mode is nftables. (kube-proxy's default
    /// is iptables, and its mode ipvs reads the section, too.) Returns the fields that are in force in place of others.
    pub(super) fn normalize_file(&mut self) -> Vec<(&'static str, &'static str)> {
        self.config_sync_period.take_if(|period| period.is_zero());
        let is_nftables = self.mode.as_deref() == Some("nftables");
        let mut in_place_of = Vec::new();
        for row in ROWS {
            let Effect::InPlaceOf(field, _) = row.effect else { continue };
            let Some(other) = Row::of_field(field) else { continue };
            for row in [row, other] {
                // Zero says nothing, but for a number, such as that of a bit.
                if (row.get)(self).is_some_and(|value| value == false || value == "0s") {
                    (row.take)(&mut Self::default(), self);
                }
            }
            let (value, others) = ((row.get)(self), (other.get)(self));
            if let (false, Some(value), None) = (is_nftables, value, others) {
                // Both have the same type.
                let _ = (other.parse)(self, &text(&value));
                (row.take)(&mut Self::default(), self);
                in_place_of.push((field, row.field));
            }
        }
        in_place_of
    }
}

/// Completes the address of a server whose port is given apart, as kube-proxy's deprecated flags do. The port is for
/// an address without one, and 0 is for no server.
pub(super) fn complete_listener(address: &mut Option<String>, port: Option<u16>) {
    match (address.as_deref().map(|address| address.trim().parse::<IpAddr>()), port) {
        (_, Some(0)) => *address = Some(String::new()),
        (Some(Ok(ip)), Some(port)) => *address = Some(SocketAddr::new(ip, port).to_string()),
        _ => {}
    }
}

impl RunSettings {
    /// Checks options as they are given, without defaults.
    pub(super) fn check(given: &Options, origin: Origin) -> Result<Self, Error> {
        mode(given, &origin)?;
        let all = given.complete();
        check_without_effect(given, &origin)?;
        let mut settings = Self {
            node: Settings::check(&all, &origin)?,
            sync: sync(&all, &origin)?,
            api: api(&all)?,
            healthz: listener(
                &origin,
                "healthzBindAddress",
                given.healthz_bind_address.as_ref(),
                all.healthz_bind_address.as_ref(),
            )?,
            metrics: listener(
                &origin,
                "metricsBindAddress",
                given.metrics_bind_address.as_ref(),
                all.metrics_bind_address.as_ref(),
            )?,
            bind_hard_fail: all.bind_address_hard_fail == Some(true),
            table_owner: all.table_owner == Some(true),
            conntrack: conntrack(&all, &origin)?,
            oom_score_adj: oom_score_adj(&all, &origin)?,
            logging: logging(&all, &origin)?,
            flags_beside_file: Vec::new(),
            without_effect: names(&origin, given.without_effect()),
            warnings: Vec::new(),
            options: all,
            origin,
        };
        if let NodePortAddresses::Networks(networks) = &settings.node.node_port_addresses {
            let loopback = networks.iter().filter(|network| network.ip().is_loopback());
            let name = settings.origin.short_name("nodePortAddresses");
            settings.without_effect.extend(loopback.map(|network| format!("{name} {network} (loopback)")));
        }
        for row in ROWS.iter().filter(|row| row.field.is_empty()) {
            let is_port = ["--healthz-port", "--metrics-port"].contains(&row.flags);
            let value = (row.get)(given).filter(|value| !is_port && *value != false && *value != "");
            let flag = value.map(|value| format!("{}={}", row.flags, text(&value)));
            settings.flags_beside_file.extend(flag);
        }
        for (server, field, address) in [
            (settings.healthz, "healthzBindAddress", &mut settings.options.healthz_bind_address),
            (settings.metrics, "metricsBindAddress", &mut settings.options.metrics_bind_address),
        ] {
            // There is none, whatever the default is.
            if server.is_none() {
                *address = Some(String::new());
                settings.flags_beside_file.push(format!("{}=", Origin::default().short_name(field)));
            }
        }
        Ok(settings)
    }

    /// Notes which of the flags for the ports of the servers have no effect.
    pub(super) fn note_ports(&mut self, [healthz, metrics]: [Option<u16>; 2]) {
        for (port, flag, server) in
            [(healthz, "--healthz-port", self.healthz), (metrics, "--metrics-port", self.metrics)]
        {
            let is_effective = |port: u16| port == server.map_or(0, |server| server.port());
            self.without_effect.extend(port.filter(|port| !is_effective(*port)).map(|_| flag.to_owned()));
        }
    }
}

fn mode(given: &Options, origin: &Origin) -> Result<(), Error> {
    let remedy = match origin.place("mode") {
        Place::Flag(_) => "leave the flag out, or say --proxy-mode=nftables",
        Place::File { .. } => {
            "add --proxy-mode=nftables, or set `mode: nftables` in the file, or delete the field"
        }
    };
    match given.mode.as_deref().unwrap_or("") {
        "" | "nftables" => Ok(()),
        mode => {
            Err(origin
                .error("mode", format!("Portolan is an nftables proxy and has no mode {mode:?}; {remedy}")))
        }
    }
}

fn sync(all: &Options, origin: &Origin) -> Result<SyncSettings, Error> {
    let (field, min_field) = ("nftables.syncPeriod", "nftables.minSyncPeriod");
    let (given, given_min) = (all.sync_period.unwrap_or_default(), all.min_sync_period.unwrap_or_default());
    let period = positive(origin.place(field), given)?;
    let min_period = time_from_zero(origin, min_field, given_min)?;
    if min_period > period {
        let longer = format!("{given_min} is longer than {} ({given})", origin.short_name(field));
        return Err(origin.error(min_field, longer));
    }
    let full_period = positive("--full-sync-period".into(), all.full_sync_period.unwrap_or_default())?;
    Ok(SyncSettings { period, min_period, full_period })
}

/// A listener; there is none if it is given as empty.
fn listener(
    origin: &Origin,
    field: &str,
    given: Option<&String>,
    complete: Option<&String>,
) -> Result<Option<SocketAddr>, Error> {
    if given.is_some_and(|given| given.trim().is_empty()) {
        return Ok(None);
    }
    let text = complete.map(|address| address.trim()).unwrap_or_default();
    let address: Option<SocketAddr> = text.parse().ok();
    match address.filter(|address| address.port() != 0) {
        Some(address) => Ok(Some(address)),
        None => {
            Err(origin.error(field, format!("{text:?} is not an address and port such as 0.0.0.0:10256")))
        }
    }
}

fn conntrack(all: &Options, origin: &Origin) -> Result<ConntrackSettings, Error> {
    let default = Options::default().complete();
    let count = |field: &str, get: fn(&Options) -> Option<i32>| {
        let value = get(all).unwrap_or_default();
        let count = u32::try_from(value);
        let value = count.map_err(|_| origin.error(field, format!("{value} is negative")))?;
        Ok::<_, Error>(Wish { value, is_explicit: get(all) != get(&default) })
    };
    let time = |field: &str, get: fn(&Options) -> Option<Duration>| {
        let given = get(all).unwrap_or_default();
        let time = time_from_zero(origin, field, given)?;
        if given > LONGEST_TIMEOUT {
            let problem =
                format!("{given} is longer than {LONGEST_TIMEOUT}, the longest that the kernel can have");
            return Err(origin.error(field, problem));
        }
        // The kernel counts in seconds; a part of one is one, as 0 means something else.
        let value = time.as_millis().div_ceil(1000) as u64;
        Ok::<_, Error>(Wish { value, is_explicit: get(all) != get(&default) })
    };
    Ok(ConntrackSettings {
        max_per_core: count("conntrack.maxPerCore", |all| all.conntrack_max_per_core)?,
        min: count("conntrack.min", |all| all.conntrack_min)?,
        tcp_established: time("conntrack.tcpEstablishedTimeout", |all| {
            all.conntrack_tcp_timeout_established
        })?,
        tcp_close_wait: time("conntrack.tcpCloseWaitTimeout", |all| all.conntrack_tcp_timeout_close_wait)?,
        tcp_be_liberal: all.conntrack_tcp_be_liberal == Some(true),
        udp: time("conntrack.udpTimeout", |all| all.conntrack_udp_timeout)?,
        udp_stream: time("conntrack.udpStreamTimeout", |all| all.conntrack_udp_timeout_stream)?,
    })
}

fn oom_score_adj(all: &Options, origin: &Origin) -> Result<Wish<i32>, Error> {
    let value = all.oom_score_adj.unwrap_or_default();
    if (-1000..=1000).contains(&value) {
        let is_explicit = all.oom_score_adj != Options::default().complete().oom_score_adj;
        Ok(Wish { value, is_explicit })
    } else {
        Err(origin.error("oomScoreAdj", format!("{value} is not a number from -1000 to 1000")))
    }
}

fn logging(all: &Options, origin: &Origin) -> Result<LoggingSettings, Error> {
    let is_json = match all.logging_format.as_deref().unwrap_or("text") {
        "text" => false,
        "json" => true,
        other => {
            return Err(origin.error("logging.format", format!("{other:?} is invalid, must be text or json")));
        }
    };
    Ok(LoggingSettings { is_json, verbosity: all.verbosity.unwrap_or_default() })
}

/// Values that kube-proxy refuses are refused although they have no effect: they are mistakes all the same.
fn check_without_effect(given: &Options, origin: &Origin) -> Result<(), Error> {
    if given.iptables_masquerade_bit.is_some() {
        masquerade_bit(origin, "iptables.masqueradeBit", given.iptables_masquerade_bit)?;
    }
    if let Some(period) = given.config_sync_period {
        positive(origin.place("configSyncPeriod"), period)?;
    }
    let blank = given.nodeport_addresses.iter().flatten().position(|entry| entry.trim().is_empty());
    if let Some(at) = blank {
        let blank = NodePortAddressesError::NotANetwork(String::new());
        return Err(origin.error(&format!("nodePortAddresses[{at}]"), blank));
    }
    if let Some(period) = given.log_flush_frequency.as_ref().map(Quantity::as_str)
        && period.parse::<i64>().is_err()
    {
        period.parse::<Duration>().map_err(|problem| origin.error("logging.flushFrequency", problem))?;
    }
    match given.kube_api_burst {
        Some(burst) if burst < 0 => {
            Err(origin.error("clientConnection.burst", format!("{burst} is negative")))
        }
        _ => Ok(()),
    }
}

fn time_from_zero(origin: &Origin, field: &str, given: Duration) -> Result<std::time::Duration, Error> {
    given.unsigned().ok_or_else(|| origin.error(field, format!("{given} is negative")))
}

fn positive(place: Place, given: Duration) -> Result<std::time::Duration, Error> {
    let time = given.unsigned().filter(|time| !time.is_zero());
    time.ok_or_else(|| Error::new(place, format!("{given} is not more than zero")))
}

/// What to call fields, each once: some flags set several.
pub(super) fn names(origin: &Origin, fields: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in fields.into_iter().map(|field| origin.short_name(&field)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn api(all: &Options) -> Result<ApiSettings, Error> {
    let kubeconfig = all.kubeconfig.as_ref().filter(|path| !path.is_empty()).map(Into::into);
    let master = all.master.as_deref().map(str::trim).filter(|master| !master.is_empty());
    let invalid = master.filter(|master| parse_url(master, true).is_none());
    if let Some(master) = invalid {
        return Err(Error::new(
            "--master",
            format!("{master:?} is not a URL such as https://192.0.2.1:6443"),
        ));
    }
    let master = master.map(str::to_owned);
    Ok(ApiSettings { kubeconfig, context: None, master })
}

/// Reads the URL of an API server. The scheme may be missing, as for client-go: it is then https if `is_tls`, else
/// http. (kube accepts such a URL, and panics at the first request.)
pub(crate) fn parse_url(text: &str, is_tls: bool) -> Option<http::Uri> {
    let scheme = if is_tls { "https" } else { "http" };
    let full = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let url: http::Uri = full.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority()?;
    // The scheme's port would take the place of an invalid one.
    let is_address = authority.port_u16().is_some() || authority.as_str().ends_with(authority.host());
    (is_http && is_address && !authority.host().is_empty()).then_some(url)
}
