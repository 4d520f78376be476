//! From options to settings.

use std::net::{IpAddr, SocketAddr};

use portolan_rules::node_ports::{NodePortAddresses, NodePortAddressesError};

use super::{ApiSettings, ConntrackSettings, LoggingSettings, RunSettings, SyncSettings, Wish};
use crate::config::{
    Duration, Error, Options, Origin, Place, Problem, ROWS,
    settings::{Settings, masquerade_bit},
};

/// Longest timeout of connection tracking: the kernel counts it in ticks, of which there are 100 a second at least,
/// in 31 bits (`proc_dointvec_jiffies`).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(i32::MAX as i64 / 100);

/// Names fields in errors.
struct Checker<'a>(&'a Origin);

impl Options {
    /// Gives the fields of a file the meaning that they have for kube-proxy: zero is the default of a period, and the
    /// `iptables` section is in force where `nftables` is silent, unless the mode is nftables. (kube-proxy's default
    /// is iptables, and its mode ipvs reads the section, too.) Returns the fields that are in force in place of others.
    pub(super) fn normalize_file(&mut self) -> Vec<(&'static str, &'static str)> {
        for period in [
            &mut self.sync_period,
            &mut self.min_sync_period,
            &mut self.iptables_sync_period,
            &mut self.iptables_min_sync_period,
            &mut self.config_sync_period,
        ] {
            period.take_if(|period| period.is_zero());
        }
        for all in [&mut self.masquerade_all, &mut self.iptables_masquerade_all] {
            all.take_if(|all| !*all);
        }
        if self.mode.as_deref() == Some("nftables") {
            return Vec::new();
        }
        let fields = [
            (
                "nftables.masqueradeAll",
                "iptables.masqueradeAll",
                fill(&mut self.masquerade_all, &mut self.iptables_masquerade_all),
            ),
            (
                "nftables.masqueradeBit",
                "iptables.masqueradeBit",
                fill(&mut self.masquerade_bit, &mut self.iptables_masquerade_bit),
            ),
            (
                "nftables.syncPeriod",
                "iptables.syncPeriod",
                fill(&mut self.sync_period, &mut self.iptables_sync_period),
            ),
            (
                "nftables.minSyncPeriod",
                "iptables.minSyncPeriod",
                fill(&mut self.min_sync_period, &mut self.iptables_min_sync_period),
            ),
        ];
        fields
            .into_iter()
            .filter(|(.., is_filled)| *is_filled)
            .map(|(other, given, _)| (other, given))
            .collect()
    }
}

/// Moves a value to where there is none; says whether it did.
fn fill<T>(to: &mut Option<T>, from: &mut Option<T>) -> bool {
    if to.is_none() {
        *to = from.take();
        return to.is_some();
    }
    false
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
        let check = Checker(&origin);
        check.mode(given)?;
        let all = given.complete();
        check.without_effect(given)?;
        let mut settings = Self {
            node: Settings::check(&all, &origin)?,
            sync: check.sync(&all)?,
            api: api(&all)?,
            healthz: check.listener(
                "healthzBindAddress",
                &given.healthz_bind_address,
                &all.healthz_bind_address,
            )?,
            metrics: check.listener(
                "metricsBindAddress",
                &given.metrics_bind_address,
                &all.metrics_bind_address,
            )?,
            bind_hard_fail: all.bind_address_hard_fail == Some(true),
            table_owner: all.table_owner == Some(true),
            conntrack: check.conntrack(&all)?,
            oom_score_adj: check.oom_score_adj(&all)?,
            logging: check.logging(&all)?,
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
            let text = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            settings.flags_beside_file.extend(text.map(|text| format!("{}={text}", row.flags)));
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

impl Checker<'_> {
    fn error(&self, field: &str, problem: Problem) -> Error {
        Error::new(self.0.place(field), problem)
    }

    fn mode(&self, given: &Options) -> Result<(), Error> {
        let remedy = match self.0.place("mode") {
            Place::Flag(_) => "leave the flag out, or say --proxy-mode=nftables",
            Place::File { .. } => {
                "add --proxy-mode=nftables, or set `mode: nftables` in the file, or delete the field"
            }
        };
        match given.mode.as_deref().unwrap_or("") {
            "" | "nftables" => Ok(()),
            mode => Err(self.error("mode", Problem::Mode { mode: mode.to_owned(), remedy })),
        }
    }

    fn sync(&self, all: &Options) -> Result<SyncSettings, Error> {
        let (field, min_field) = ("nftables.syncPeriod", "nftables.minSyncPeriod");
        let (given, given_min) =
            (all.sync_period.unwrap_or_default(), all.min_sync_period.unwrap_or_default());
        let period = positive(self.0.place(field), given)?;
        let min_period = self.time(min_field, given_min)?;
        if min_period > period {
            let longer = Problem::Longer {
                min: given_min.to_string(),
                limit: given.to_string(),
                period: self.0.short_name(field),
            };
            return Err(self.error(min_field, longer));
        }
        let full_period = positive("--full-sync-period".into(), all.full_sync_period.unwrap_or_default())?;
        Ok(SyncSettings { period, min_period, full_period })
    }

    /// A listener; there is none if it is given as empty.
    fn listener(
        &self,
        field: &str,
        given: &Option<String>,
        complete: &Option<String>,
    ) -> Result<Option<SocketAddr>, Error> {
        if given.as_ref().is_some_and(|given| given.trim().is_empty()) {
            return Ok(None);
        }
        let text = complete.as_deref().unwrap_or_default().trim();
        let address: Option<SocketAddr> = text.parse().ok();
        match address.filter(|address| address.port() != 0) {
            Some(address) => Ok(Some(address)),
            None => Err(self.error(field, Problem::Listener(text.to_owned()))),
        }
    }

    fn conntrack(&self, all: &Options) -> Result<ConntrackSettings, Error> {
        let default = Options::default().complete();
        let count = |field: &str, value: Option<i32>, default: Option<i32>| {
            let value = value.unwrap_or_default();
            let count = u32::try_from(value);
            let count = count.map_err(|_| self.error(field, Problem::Negative(value.to_string())))?;
            let default = u32::try_from(default.unwrap_or_default()).unwrap_or_default();
            Ok::<_, Error>(Wish::new(count, &default))
        };
        let time = |field: &str, value: Option<Duration>, default: Option<Duration>| {
            // The kernel counts in seconds; a part of one is one, as 0 means something else.
            let seconds = |time: std::time::Duration| time.as_millis().div_ceil(1000) as u64;
            let given = value.unwrap_or_default();
            let time = self.time(field, given)?;
            if given > LONGEST_TIMEOUT {
                let problem = Problem::TooLong(given.to_string(), LONGEST_TIMEOUT.to_string());
                return Err(self.error(field, problem));
            }
            let default = default.and_then(Duration::unsigned).unwrap_or_default();
            Ok::<_, Error>(Wish::new(seconds(time), &seconds(default)))
        };
        Ok(ConntrackSettings {
            max_per_core: count(
                "conntrack.maxPerCore",
                all.conntrack_max_per_core,
                default.conntrack_max_per_core,
            )?,
            min: count("conntrack.min", all.conntrack_min, default.conntrack_min)?,
            tcp_established: time(
                "conntrack.tcpEstablishedTimeout",
                all.conntrack_tcp_timeout_established,
                default.conntrack_tcp_timeout_established,
            )?,
            tcp_close_wait: time(
                "conntrack.tcpCloseWaitTimeout",
                all.conntrack_tcp_timeout_close_wait,
                default.conntrack_tcp_timeout_close_wait,
            )?,
            tcp_be_liberal: all.conntrack_tcp_be_liberal == Some(true),
            udp: time("conntrack.udpTimeout", all.conntrack_udp_timeout, default.conntrack_udp_timeout)?,
            udp_stream: time(
                "conntrack.udpStreamTimeout",
                all.conntrack_udp_timeout_stream,
                default.conntrack_udp_timeout_stream,
            )?,
        })
    }

    fn oom_score_adj(&self, all: &Options) -> Result<Wish<i32>, Error> {
        let default = Options::default().complete().oom_score_adj.unwrap_or_default();
        let score = all.oom_score_adj.unwrap_or_default();
        if (-1000..=1000).contains(&score) {
            Ok(Wish::new(score, &default))
        } else {
            Err(self.error("oomScoreAdj", Problem::Range(score.into(), -1000, 1000)))
        }
    }

    fn logging(&self, all: &Options) -> Result<LoggingSettings, Error> {
        let is_json = match all.logging_format.as_deref().unwrap_or("text") {
            "text" => false,
            "json" => true,
            other => {
                return Err(self.error("logging.format", Problem::NoneOf(other.to_owned(), "text, json")));
            }
        };
        Ok(LoggingSettings { is_json, verbosity: all.verbosity.unwrap_or_default() })
    }

    /// Values that kube-proxy refuses are refused although they have no effect: they are mistakes all the same.
    fn without_effect(&self, given: &Options) -> Result<(), Error> {
        if given.iptables_masquerade_bit.is_some() {
            masquerade_bit(self.0, "iptables.masqueradeBit", given.iptables_masquerade_bit)?;
        }
        if let Some(period) = given.config_sync_period {
            positive(self.0.place("configSyncPeriod"), period)?;
        }
        let blank = given.nodeport_addresses.iter().flatten().position(|entry| entry.trim().is_empty());
        if let Some(at) = blank {
            let blank = NodePortAddressesError::NotANetwork(String::new());
            return Err(self.error(&format!("nodePortAddresses[{at}]"), blank.into()));
        }
        match given.kube_api_burst {
            Some(burst) if burst < 0 => {
                Err(self.error("clientConnection.burst", Problem::Negative(burst.to_string())))
            }
            _ => Ok(()),
        }
    }

    fn time(&self, field: &str, given: Duration) -> Result<std::time::Duration, Error> {
        given.unsigned().ok_or_else(|| self.error(field, Problem::Negative(given.to_string())))
    }
}

fn positive(place: Place, given: Duration) -> Result<std::time::Duration, Error> {
    let time = given.unsigned().filter(|time| !time.is_zero());
    time.ok_or_else(|| Error::new(place, Problem::NotPositive(given.to_string())))
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
        return Err(Error::new("--master", Problem::Url(master.to_owned())));
    }
    let master = master.map(str::to_owned);
    Ok(ApiSettings { kubeconfig, master })
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
