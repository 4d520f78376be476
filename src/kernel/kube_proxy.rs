//! Finds traces of kube-proxy in this network namespace.

use std::{fs, path::Path};

use super::nftables::{Error, Kernel, Proxy};

/// The interface that has every ClusterIP in kube-proxy's mode ipvs.
const IPVS_INTERFACE: &str = "kube-ipvs0";

/// Describes each trace of kube-proxy: tables of its mode nftables, chains of its modes iptables and ipvs, and the
/// interface of mode ipvs.
///
/// # Errors
/// The kernel does not answer.
pub fn traces(kernel: &mut Kernel) -> Result<Vec<String>, Error> {
    let mut traces = Vec::new();
    for neighbour in kernel.neighbours()? {
        match neighbour.proxy {
            Proxy::KubeProxyNftables => traces.push(format!("table {neighbour}")),
            Proxy::KubeProxyIptables => traces.push(format!("chains KUBE-* in table {neighbour}")),
            Proxy::Portolan => {}
        }
    }
    if Path::new("/sys/class/net").join(IPVS_INTERFACE).exists() {
        traces.push(format!("interface {IPVS_INTERFACE}"));
    }
    Ok(traces)
}

/// The nat tables of legacy iptables, each with the command that lists its chains. They cannot be listed without that
/// command.
pub fn legacy_tables() -> Vec<(&'static str, String)> {
    let mut tables = Vec::new();
    for (file, command) in [
        ("/proc/net/ip_tables_names", "iptables-legacy-save"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        let names = fs::read_to_string(file).unwrap_or_default();
        tables.extend(names.lines().filter(|name| *name == "nat").map(|name| (command, name.to_owned())));
    }
    tables
}
