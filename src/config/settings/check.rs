//! Turns options into settings.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;
use portolan_rules::{ruleset::Family, selection::node_port_addresses::localhost};

use super::{
    node::{Settings, invalid, is_label, refuse, socket_path},
    run::{ApiSettings, ConntrackSettings, LoggingSettings, Requested, RunSettings, SyncSettings},
};
use crate::config::{
    Error, Options, Origin, Place,
    go_duration::print,
    options::{self, Row, rows},
    values::text,
};

/// Longest timeout of connection tracking: the kernel counts the timeout in ticks, of which there are at least 100 a
/// second, in 31 bits (`proc_dointvec_jiffies`).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(i32::MAX as u64 / 100);

/// Returns the socket on which commands on this node query the agent.
fn socket(given: &Options, table: &str) -> Option<PathBuf> {
    match given.get(&options::SOCKET).map(|_| given.text(&options::SOCKET)) {
        None => Some(socket_path(table)),
        Some("") => None,
        Some(path) => Some(path.into()),
    }
}

impl RunSettings {
    /// Checks options as they are given, without defaults.
    pub(super) fn check(given: &Options, origin: Origin) -> Result<Self, Error> {
        mode(given, &origin)?;
        let mut all = given.complete();
        let node = Settings::check(&all, &origin)?;
        if !all.text(&options::HOSTNAME_OVERRIDE).is_empty() {
            // The name as it is in effect: trimmed, in lower case.
            all.set(&options::HOSTNAME_OVERRIDE, Some((*node.node_name).into()));
        }
        let socket = socket(given, &node.config.table);
        let mut settings = Self {
            node,
            sync: sync(&all, &origin)?,
            api: api(&all, &origin)?,
            healthz: listener(&origin, &options::HEALTHZ_BIND_ADDRESS, given, &all)?,
            metrics: listener(&origin, &options::METRICS_BIND_ADDRESS, given, &all)?,
            socket,
            bind_hard_fail: all.is_on(&options::BIND_ADDRESS_HARD_FAIL),
            table_owner: all.is_on(&options::TABLE_OWNER),
            conntrack: conntrack(&all, &origin)?,
            oom_score_adj: wish(&all, &options::OOM_SCORE_ADJ),
            logging: logging(&all, &origin)?,
            flags_beside_file: Vec::new(),
            without_effect: Vec::new(),
            warnings: Vec::new(),
            options: all,
            origin,
        };
        settings.note_without_effect(given);
        settings.note_flags_beside_file(given);
        Ok(settings)
    }

    /// Notes what is given and has no effect.
    fn note_without_effect(&mut self, given: &Options) {
        for (row, entry) in given.without_effect() {
            let mut name = self.origin.short_name(row);
            // A flag sets all entries.
            if self.origin.file.is_some() {
                name += &entry;
            }
            self.without_effect.push(name);
        }
        self.without_effect.sort();
        self.without_effect.dedup();
        let networks = self.node.node_port_addresses.networks.iter();
        let is_without_effect = |network: &&IpNetwork| {
            network.ip().is_loopback() && !network.contains(localhost(Family::of(network.ip())))
        };
        let name = self.origin.short_name(&options::NODEPORT_ADDRESSES);
        let loopback = networks.filter(is_without_effect);
        self.without_effect.extend(loopback.map(|network| format!("{name} {network} (loopback)")));
        for (row, server) in [(&options::HEALTHZ_PORT, self.healthz), (&options::METRICS_PORT, self.metrics)]
        {
            let is_effective = given.number::<u16>(row) == server.map_or(0, |server| server.port());
            if given.get(row).is_some() && !is_effective {
                self.without_effect.push(row.flags.to_owned());
            }
        }
    }

    /// Notes the flags for which the file has no field.
    fn note_flags_beside_file(&mut self, given: &Options) {
        let ports = [options::HEALTHZ_PORT.flags, options::METRICS_PORT.flags];
        for row in rows().filter(|row| row.field.is_empty() && !ports.contains(&row.flags)) {
            let value = given.get(row).filter(|value| **value != false && **value != "");
            let flag = value.map(|value| format!("{}={}", row.flags, text(value)));
            self.flags_beside_file.extend(flag);
        }
        for (server, row) in
            [(self.healthz, &options::HEALTHZ_BIND_ADDRESS), (self.metrics, &options::METRICS_BIND_ADDRESS)]
        {
            // There is no server, whatever the default is.
            if server.is_none() {
                self.options.set(row, Some("".into()));
                self.flags_beside_file.push(format!("{}=", row.flags));
            }
        }
    }
}

fn mode(given: &Options, origin: &Origin) -> Result<(), Error> {
    let remedy = match origin.place(&options::MODE) {
        Place::Flag(_) => "leave the flag out, or set --proxy-mode=nftables",
        Place::File { .. } => {
            "add --proxy-mode=nftables, or set `mode: nftables` in the file, or delete the field"
        }
    };
    match given.text(&options::MODE) {
        "" | "nftables" => Ok(()),
        mode => {
            let problem = format!("Portolan is an nftables proxy and has no mode {mode:?}; {remedy}");
            Err(refuse(origin, &options::MODE, problem))
        }
    }
}

fn sync(all: &Options, origin: &Origin) -> Result<SyncSettings, Error> {
    let [period, min_period, full_period] =
        [&options::SYNC_PERIOD, &options::MIN_SYNC_PERIOD, &options::FULL_SYNC_PERIOD]
            .map(|row| all.duration(row));
    if min_period > period {
        let name = origin.short_name(&options::SYNC_PERIOD);
        let problem = format!("{} is longer than {name} ({})", print(min_period), print(period));
        return Err(refuse(origin, &options::MIN_SYNC_PERIOD, problem));
    }
    Ok(SyncSettings { period, min_period, full_period })
}

/// Returns the address of a listener; `None` if it is given as empty.
fn listener(origin: &Origin, row: &Row, given: &Options, all: &Options) -> Result<Option<SocketAddr>, Error> {
    if given.get(row).is_some() && given.text(row).is_empty() {
        return Ok(None);
    }
    let text = all.text(row);
    let address: Option<SocketAddr> = text.parse().ok();
    match address.filter(|address| address.port() != 0) {
        Some(address) => Ok(Some(address)),
        None => {
            Err(refuse(origin, row, format!("{text:?} is not an address and port such as 0.0.0.0:10256")))
        }
    }
}

fn wish<T: TryFrom<i64> + Default>(all: &Options, row: &Row) -> Requested<T> {
    Requested { value: all.number(row), is_explicit: !all.is_default(row) }
}

fn conntrack(all: &Options, origin: &Origin) -> Result<ConntrackSettings, Error> {
    let time = |row: &'static Row| {
        let time = all.duration(row);
        if time > LONGEST_TIMEOUT {
            let [given, longest] = [time, LONGEST_TIMEOUT].map(print);
            let problem = format!("{given} is longer than {longest}, the longest that the kernel supports");
            return Err(refuse(origin, row, problem));
        }
        // The kernel counts in seconds. A part of a second is rounded up, since 0 leaves the kernel's value alone.
        let value = time.as_secs() + u64::from(time.subsec_nanos() > 0);
        Ok(Requested { value, is_explicit: !all.is_default(row) })
    };
    Ok(ConntrackSettings {
        max_per_core: wish(all, &options::CONNTRACK_MAX_PER_CORE),
        min: wish(all, &options::CONNTRACK_MIN),
        tcp_established: time(&options::CONNTRACK_TCP_TIMEOUT_ESTABLISHED)?,
        tcp_close_wait: time(&options::CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT)?,
        tcp_be_liberal: all.is_on(&options::CONNTRACK_TCP_BE_LIBERAL),
        udp: time(&options::CONNTRACK_UDP_TIMEOUT)?,
        udp_stream: time(&options::CONNTRACK_UDP_TIMEOUT_STREAM)?,
    })
}

fn logging(all: &Options, origin: &Origin) -> Result<LoggingSettings, Error> {
    let is_json = match all.text(&options::LOGGING_FORMAT) {
        "text" => false,
        "json" => true,
        other => return Err(invalid(origin, &options::LOGGING_FORMAT, other, "text or json")),
    };
    Ok(LoggingSettings { is_json, verbosity: all.number(&options::VERBOSITY) })
}

/// The media type of objects in protobuf.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn api(all: &Options, origin: &Origin) -> Result<ApiSettings, Error> {
    let of = |row| Some(all.text(row)).filter(|text| !text.is_empty());
    let master = of(&options::MASTER);
    if let Some(master) = master.filter(|master| parse_url(master, true).is_none()) {
        let problem = format!("{master:?} is not a URL such as https://192.0.2.1:6443");
        return Err(refuse(origin, &options::MASTER, problem));
    }
    let is_json = match all.text(&options::CONTENT_TYPE) {
        "" | PROTOBUF => false,
        "application/json" => true,
        other => {
            let known = format!("{PROTOBUF} or application/json");
            return Err(invalid(origin, &options::CONTENT_TYPE, other, &known));
        }
    };
    let relist = all.duration(&options::RELIST_PERIOD);
    Ok(ApiSettings {
        is_json,
        relist: (!relist.is_zero()).then_some(relist),
        kubeconfig: of(&options::KUBECONFIG).map(Into::into),
        context: None,
        master: master.map(str::to_owned),
        startup_taint: startup_taint(all, origin)?,
    })
}

/// Returns the key of a taint, which has the form of a label's key.
fn startup_taint(all: &Options, origin: &Origin) -> Result<Option<String>, Error> {
    let text = all.text(&options::REMOVE_TAINT);
    let is_key = match text.split_once('/') {
        Some((domain, name)) => is_label(domain, 253, "-.") && is_label(name, 63, "-_."),
        None => is_label(text, 63, "-_."),
    };
    match text {
        "" => Ok(None),
        key if is_key => Ok(Some(key.to_owned())),
        key => {
            let problem = format!(
                "{key:?} is not the key of a taint such as portolan.io/not-ready, without value and effect"
            );
            Err(refuse(origin, &options::REMOVE_TAINT, problem))
        }
    }
}

/// Reads the URL of an API server. The scheme may be missing, as for client-go: it is then https if `is_tls`, else
/// http. (kube accepts such a URL, and panics at the first request.)
pub(crate) fn parse_url(text: &str, is_tls: bool) -> Option<http::Uri> {
    let scheme = if is_tls { "https" } else { "http" };
    let full = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
    let url: http::Uri = full.parse().ok()?;
    let is_http = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority()?;
    // The scheme's port would take the place of an invalid port.
    let is_address = authority.port_u16().is_some() || authority.as_str().ends_with(authority.host());
    (is_http && is_address && !authority.host().is_empty()).then_some(url)
}
