//! Capabilities and sysctls.

use std::{fs, path::Path};

use super::outcome::{Check, or_ok};
use crate::{config::settings::RunSettings, kernel::sysctl::Sysctls};

/// Bits of `CapEff` (`linux/capability.h`).
const NET_ADMIN: u32 = 12;
const NET_BIND_SERVICE: u32 = 10;
/// Binding to a port below this one needs `CAP_NET_BIND_SERVICE` (the default of
/// `net.ipv4.ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;
/// A warning is given from this percentage of the connections that can be tracked.
const MANY: u64 = 80;

pub fn check(settings: &RunSettings) -> Vec<Check> {
    let mut checks = capabilities(settings, &read("/proc/self/status"));
    checks.extend(forwarding(Path::new("/")));
    checks.extend(conntrack(settings));
    checks
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn capabilities(settings: &RunSettings, status: &str) -> Vec<Check> {
    const NAME: &str = "capabilities";
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(bits) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return vec![Check::skipped(NAME, "/proc/self/status does not say what this process may do")];
    };
    let has = |bit: u32| bits >> bit & 1 == 1;
    let mut checks = Vec::new();
    if !has(NET_ADMIN) {
        checks.push(Check::failed(NAME, "NET_ADMIN is missing", "add it to the container, or run as root"));
    }
    let low = [settings.healthz, settings.metrics].into_iter().flatten();
    let low: Vec<String> = low.filter(|at| at.port() < UNPRIVILEGED).map(|at| at.to_string()).collect();
    if !low.is_empty() && !has(NET_BIND_SERVICE) {
        let message = format!("NET_BIND_SERVICE is missing, and {} has a port below 1024", low.join(", "));
        checks.push(Check::warning(NAME, message, "add it to the container, or choose another port"));
    }
    or_ok(checks, NAME, "NET_ADMIN is there")
}

/// Checks whether packets are forwarded to Pods, and whether the rules see the packets of a bridge.
fn forwarding(root: &Path) -> Vec<Check> {
    const NAME: &str = "sysctls";
    let sysctl = |name: &str| read(root.join("proc/sys/net").join(name)).trim().to_owned();
    let mut checks = Vec::new();
    if sysctl("ipv4/ip_forward") == "0" {
        let hint = "the network of the Pods usually sets it; connections to Pods of other nodes need it";
        checks.push(Check::warning(NAME, "net.ipv4.ip_forward is 0", hint));
    }
    if sysctl("ipv6/conf/all/forwarding") == "0" && sysctl("ipv6/conf/all/disable_ipv6") == "0" {
        let hint = "needed if the cluster has IPv6";
        checks.push(Check::warning(NAME, "net.ipv6.conf.all.forwarding is 0", hint));
    }
    let interfaces = fs::read_dir(root.join("sys/class/net")).into_iter().flatten().flatten();
    let bridges: Vec<String> = interfaces
        .filter(|interface| interface.path().join("bridge").exists())
        .map(|interface| interface.file_name().to_string_lossy().into_owned())
        .collect();
    if !bridges.is_empty() && sysctl("bridge/bridge-nf-call-iptables") != "1" {
        let message = format!(
            "there are bridges ({}), and net.bridge.bridge-nf-call-iptables is not 1",
            bridges.join(", ")
        );
        let hint = "if Pods are on a bridge, those of one node cannot reach each other through a Service without it: \
                    modprobe br_netfilter";
        checks.push(Check::warning(NAME, message, hint));
    }
    or_ok(checks, NAME, "packets are forwarded")
}

/// Checks the limits and timeouts of connection tracking, as `run` would set them, and how full the table is.
fn conntrack(settings: &RunSettings) -> Vec<Check> {
    const NAME: &str = "conntrack";
    let sysctls = Sysctls::default();
    if !sysctls.are_there() {
        return vec![Check::skipped(NAME, "connection tracking is not loaded yet")];
    }
    let mut checks = Vec::new();
    for difference in sysctls.unwritable(&settings.conntrack) {
        let message = format!(
            "{} is {}, wanted is {}, and it cannot be written from here",
            difference.name, difference.is, difference.wanted
        );
        let hint = "`portolan run --init-only` in a privileged init container sets it";
        if difference.is_explicit {
            checks.push(Check::failed(NAME, message, hint));
        } else {
            checks.push(Check::warning(NAME, message, hint));
        }
    }
    if let Some((tracked, limit)) = sysctls.tracked()
        && tracked * 100 >= limit * MANY
    {
        let message = format!("{tracked} of at most {limit} connections are tracked");
        checks.push(Check::warning(NAME, message, "raise conntrack.min, or connections will be dropped"));
    }
    or_ok(checks, NAME, "its limits are as wanted, or can be set")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::precheck::Status,
        config::{
            Options,
            options::{HEALTHZ_BIND_ADDRESS, HOSTNAME_OVERRIDE},
            settings::RunSettings,
        },
    };

    fn settings(healthz: &str) -> RunSettings {
        let options = Options::of(&[(&HOSTNAME_OVERRIDE, "node-a"), (&HEALTHZ_BIND_ADDRESS, healthz)]);
        RunSettings::resolve(&options, None, false).unwrap()
    }

    #[test]
    fn what_may_be_done_is_read_from_the_effective_set() {
        let statuses = |healthz: &str, status: &str| -> Vec<Status> {
            capabilities(&settings(healthz), status).iter().map(|check| check.status).collect()
        };
        let (none, admin) = ("CapEff:\t0000000000000000\n", "CapPrm:\t0\nCapEff:\t0000000000001000\n");
        assert_eq!(statuses("0.0.0.0:10256", none), [Status::Failed]);
        assert_eq!(statuses("0.0.0.0:10256", admin), [Status::Ok]);
        assert_eq!(statuses("0.0.0.0:256", admin), [Status::Warning]);
        assert_eq!(statuses("0.0.0.0:256", "CapEff:\t0000000000001400\n"), [Status::Ok]);
        assert_eq!(statuses("0.0.0.0:10256", ""), [Status::Skipped]);
    }

    #[test]
    fn a_bridge_needs_its_packets_to_be_seen() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, value: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        };
        let messages = || -> Vec<String> {
            let warnings = forwarding(root.path()).into_iter();
            warnings.filter(|check| check.status == Status::Warning).map(|check| check.message).collect()
        };
        write("proc/sys/net/ipv4/ip_forward", "1\n");
        write("sys/class/net/eth0/address", "");
        assert_eq!(messages(), [""; 0]);
        write("sys/class/net/cni0/bridge/bridge_id", "");
        let bridges = "there are bridges (cni0), and net.bridge.bridge-nf-call-iptables is not 1";
        assert_eq!(messages(), [bridges]);
        write("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n");
        assert_eq!(messages(), [""; 0]);
        write("proc/sys/net/ipv4/ip_forward", "0\n");
        assert_eq!(messages(), ["net.ipv4.ip_forward is 0"]);
    }
}
