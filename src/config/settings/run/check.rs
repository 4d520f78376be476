//! From a configuration to settings.

use std::net::SocketAddr;

use portolan_rules::node_ports::{NodePortAddresses, NodePortAddressesError};

use super::{ApiSettings, ConntrackSettings, LoggingSettings, RunSettings, SyncSettings, Wish};
use crate::{
    config::{
        DEFAULT_OOM_SCORE_ADJ, Duration, KubeProxyConfiguration, Origin, Text,
        arguments::RunArgs,
        settings::{Problem, Settings, SettingsError, masquerade_bit},
    },
    source::cluster,
};

/// Longest timeout of connection tracking: the kernel counts it in ticks, of which there are 100 a second at least,
/// in 31 bits (`proc_dointvec_jiffies`).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(i32::MAX as i64 / 100);

/// Names fields in errors.
struct Checker<'a>(&'a Origin);

impl RunSettings {
    /// Checks a configuration as it was given, without defaults. Flags give what it has no field for.
    pub(super) fn check(
        given: &KubeProxyConfiguration,
        origin: &Origin,
        args: &RunArgs,
    ) -> Result<Self, SettingsError> {
        let check = Checker(origin);
        check.mode(given)?;
        let all = given.complete();
        let node = Settings::check(&all, origin, &args.node)?;
        // Ports that are given apart count as part of the address, but not beside a file.
        let flag = |all, alone| Option::as_deref(if *origin == Origin::Flags { all } else { alone });
        let mut settings = Self {
            node,
            sync: check.sync(given, &all, args)?,
            api: api(&all, args)?,
            healthz: check.listener(
                "healthzBindAddress",
                flag(&given.healthz_bind_address, &args.servers.healthz_bind_address),
                all.healthz_bind_address.as_deref(),
            )?,
            metrics: check.listener(
                "metricsBindAddress",
                flag(&given.metrics_bind_address, &args.servers.metrics_bind_address),
                all.metrics_bind_address.as_deref(),
            )?,
            bind_hard_fail: all.bind_address_hard_fail == Some(true),
            table_owner: args.sync.table_owner == Some(true),
            conntrack: check.conntrack(&all)?,
            oom_score_adj: check.oom_score_adj(&all)?,
            logging: check.logging(&all, args)?,
            config_file: None,
            beside_configuration: Vec::new(),
            ineffective: names(origin, &given.ineffective()),
            configuration: all,
        };
        check.ineffective(given)?;
        if let NodePortAddresses::Networks(networks) = &settings.node.node_port_addresses {
            let loopback = networks.iter().filter(|network| network.ip().is_loopback());
            let name = origin.short_name("nodePortAddresses");
            settings.ineffective.extend(loopback.map(|network| format!("{name} {network} (loopback)")));
        }
        let shown = &mut settings.configuration;
        for (server, address) in [
            (settings.healthz, &mut shown.healthz_bind_address),
            (settings.metrics, &mut shown.metrics_bind_address),
        ] {
            // None is in effect, whatever the default is.
            if server.is_none() {
                *address = Some(String::new());
            }
        }
        settings.note_flags(args);
        Ok(settings)
    }

    /// Notes what flags say that no field can, and flags that never mean anything.
    fn note_flags(&mut self, args: &RunArgs) {
        let mut beside = |flag: &str, value: Option<String>| {
            self.beside_configuration.extend(value.map(|value| format!("{flag}={value}")));
        };
        let yes = |flag: Option<bool>| (flag == Some(true)).then(|| "true".to_owned());
        beside("--master", self.api.master.clone());
        beside("--full-sync-period", args.sync.full_sync_period.map(|period| period.to_string()));
        beside("--table-owner", yes(args.sync.table_owner));
        beside("--endpoint-counters", yes(args.node.endpoint_counters));
        beside("--service-cluster-ip-range", args.node.service_cluster_ip_range.clone());
        beside("--service-proxy-name", args.node.service_proxy_name.clone());
        beside("--table-name", args.node.table_name.clone());
        beside("--healthz-bind-address", self.healthz.is_none().then(String::new));
        beside("--metrics-bind-address", self.metrics.is_none().then(String::new));
        for (port, flag, server) in [
            (args.servers.healthz_port, "--healthz-port", self.healthz),
            (args.servers.metrics_port, "--metrics-port", self.metrics),
        ] {
            let is_effective = |port: u16| port == server.map_or(0, |server| server.port());
            self.ineffective.extend(port.filter(|port| !is_effective(*port)).map(|_| flag.to_owned()));
        }
    }
}

impl Checker<'_> {
    fn error(&self, field: &str, problem: Problem) -> SettingsError {
        SettingsError::new(self.0.name(field), problem)
    }

    fn mode(&self, given: &KubeProxyConfiguration) -> Result<(), SettingsError> {
        let remedy = match self.0 {
            Origin::Flags => "leave the flag out, or say --proxy-mode=nftables",
            Origin::File(_) => "set `mode: nftables` in the file, or delete the field",
        };
        match given.mode.as_deref().unwrap_or("") {
            "" | "nftables" => Ok(()),
            mode => Err(self.error("mode", Problem::Mode { mode: mode.to_owned(), remedy })),
        }
    }

    fn sync(
        &self,
        given: &KubeProxyConfiguration,
        all: &KubeProxyConfiguration,
        args: &RunArgs,
    ) -> Result<SyncSettings, SettingsError> {
        let (field, min_field) = ("nftables.syncPeriod", "nftables.minSyncPeriod");
        // In a file zero is the default; somebody who types it means it.
        let asked = if *self.0 == Origin::Flags { given.nftables.sync_period } else { None };
        let given = asked.or(all.nftables.sync_period).unwrap_or_default();
        let period = self.positive(field, given)?;
        let given_min = all.nftables.min_sync_period.unwrap_or_default();
        let min_period = self.time(min_field, given_min)?;
        if min_period > period {
            let longer = Problem::Longer {
                min: given_min.to_string(),
                limit: given.to_string(),
                period: self.0.short_name(field),
            };
            return Err(self.error(min_field, longer));
        }
        let flags = Checker(&Origin::Flags);
        let full = args.sync.full_sync_period.map(|full| flags.positive("--full-sync-period", full));
        let full_period = full.transpose()?.unwrap_or(SyncSettings::default().full_period);
        Ok(SyncSettings { period, min_period, full_period })
    }

    /// A listener. A flag may be empty to have none, even beside a file, where an empty field is the default.
    fn listener(
        &self,
        field: &str,
        flag: Option<&str>,
        complete: Option<&str>,
    ) -> Result<Option<SocketAddr>, SettingsError> {
        if flag.is_some_and(|flag| flag.trim().is_empty()) {
            return Ok(None);
        }
        let text = complete.unwrap_or_default().trim();
        let address: Option<SocketAddr> = text.parse().ok();
        match address.filter(|address| address.port() != 0) {
            Some(address) => Ok(Some(address)),
            None => Err(self.error(field, Problem::Listener(text.to_owned()))),
        }
    }

    fn conntrack(&self, all: &KubeProxyConfiguration) -> Result<ConntrackSettings, SettingsError> {
        let given = &all.conntrack;
        let default = KubeProxyConfiguration::default().complete().conntrack;
        let count = |field: &str, value: Option<i32>, default: Option<i32>| {
            let value = value.unwrap_or_default();
            let count = u32::try_from(value);
            let count = count.map_err(|_| self.error(field, Problem::Negative(value.to_string())))?;
            let default = u32::try_from(default.unwrap_or_default()).unwrap_or_default();
            Ok::<_, SettingsError>(Wish::new(count, &default))
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
            Ok::<_, SettingsError>(Wish::new(seconds(time), &seconds(default)))
        };
        Ok(ConntrackSettings {
            max_per_core: count("conntrack.maxPerCore", given.max_per_core, default.max_per_core)?,
            min: count("conntrack.min", given.min, default.min)?,
            tcp_established: time(
                "conntrack.tcpEstablishedTimeout",
                given.tcp_established_timeout,
                default.tcp_established_timeout,
            )?,
            tcp_close_wait: time(
                "conntrack.tcpCloseWaitTimeout",
                given.tcp_close_wait_timeout,
                default.tcp_close_wait_timeout,
            )?,
            tcp_be_liberal: given.tcp_be_liberal == Some(true),
            udp: time("conntrack.udpTimeout", given.udp_timeout, default.udp_timeout)?,
            udp_stream: time(
                "conntrack.udpStreamTimeout",
                given.udp_stream_timeout,
                default.udp_stream_timeout,
            )?,
        })
    }

    fn oom_score_adj(&self, all: &KubeProxyConfiguration) -> Result<Wish<i32>, SettingsError> {
        let score = all.oom_score_adj.unwrap_or(DEFAULT_OOM_SCORE_ADJ);
        if (-1000..=1000).contains(&score) {
            Ok(Wish::new(score, &DEFAULT_OOM_SCORE_ADJ))
        } else {
            Err(self.error("oomScoreAdj", Problem::Range(score.into(), -1000, 1000)))
        }
    }

    fn logging(
        &self,
        all: &KubeProxyConfiguration,
        args: &RunArgs,
    ) -> Result<LoggingSettings, SettingsError> {
        // The flag beats the file.
        let origin = if args.process.logging_format.is_some() { &Origin::Flags } else { self.0 };
        let is_json = match all.logging.format.as_deref().unwrap_or("text") {
            "text" => false,
            "json" => true,
            other => {
                let problem = Problem::NoneOf(other.to_owned(), "text, json");
                return Err(SettingsError::new(origin.name("logging.format"), problem));
            }
        };
        Ok(LoggingSettings { is_json, verbosity: all.logging.verbosity.unwrap_or_default() })
    }

    /// What kube-proxy refuses is refused even where it would mean nothing: it is a mistake all the same.
    fn ineffective(&self, given: &KubeProxyConfiguration) -> Result<(), SettingsError> {
        masquerade_bit(self.0, "iptables.masqueradeBit", given.iptables.masquerade_bit)?;
        match given.config_sync_period {
            Some(period) if !period.is_zero() || *self.0 == Origin::Flags => {
                self.positive("configSyncPeriod", period)?;
            }
            _ => {}
        }
        if let Some(Text(text)) = &given.logging.flush_frequency
            && text.parse::<i64>().is_err()
        {
            let parsed = text.parse::<Duration>();
            parsed.map_err(|error| self.error("logging.flushFrequency", Problem::Duration(error)))?;
        }
        let blank = given.node_port_addresses.iter().flatten().position(|entry| entry.trim().is_empty());
        if let Some(at) = blank {
            let blank = NodePortAddressesError::NotANetwork(String::new());
            return Err(SettingsError::new(self.0.name(&format!("nodePortAddresses[{at}]")), blank));
        }
        match given.client_connection.burst {
            Some(burst) if burst < 0 => {
                Err(self.error("clientConnection.burst", Problem::Negative(burst.to_string())))
            }
            _ => Ok(()),
        }
    }

    fn time(&self, field: &str, given: Duration) -> Result<std::time::Duration, SettingsError> {
        given.unsigned().ok_or_else(|| self.error(field, Problem::Negative(given.to_string())))
    }

    fn positive(&self, field: &str, given: Duration) -> Result<std::time::Duration, SettingsError> {
        let time = given.unsigned().filter(|time| !time.is_zero());
        time.ok_or_else(|| self.error(field, Problem::NotPositive(given.to_string())))
    }
}

/// What to call fields, each once: some flags set several.
pub(super) fn names(origin: &Origin, fields: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in fields.iter().map(|field| origin.short_name(field)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn api(all: &KubeProxyConfiguration, args: &RunArgs) -> Result<ApiSettings, SettingsError> {
    let kubeconfig = all.client_connection.kubeconfig.clone().filter(|path| !path.as_os_str().is_empty());
    let master = args.api.master.as_deref().map(str::trim).filter(|master| !master.is_empty());
    let invalid = master.filter(|master| cluster::parse_url(master, true).is_none());
    if let Some(master) = invalid {
        return Err(SettingsError::new("--master", Problem::Url(master.to_owned())));
    }
    let master = master.map(str::to_owned);
    Ok(ApiSettings { kubeconfig, master })
}
