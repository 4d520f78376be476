//! Other service proxies' rules on this node.

use std::os::unix::net::UnixStream;

use super::outcome::{Check, or_ok};
use crate::{
    config::settings::RunSettings,
    kernel::{
        kube_proxy,
        nftables::{Error, Kernel, Neighbour, Proxy},
    },
};

pub fn check(settings: &RunSettings) -> Vec<Check> {
    let table = &*settings.node.config.table;
    let mut checks = tables(table);
    if let Some(socket) = settings.socket.as_deref().filter(|socket| UnixStream::connect(socket).is_ok()) {
        let message = format!("an agent listens at {} already", socket.display());
        let hint = "two agents must not program the same tables: end it, or give another --table-name";
        checks.push(Check::warning("portolan", message, hint));
    }
    checks
}

fn tables(table: &str) -> Vec<Check> {
    let read = |mut kernel: Kernel| Ok((kube_proxy::traces(&mut kernel)?, kernel.neighbours()?));
    let (traces, mut tables) = match Kernel::open().and_then(read) {
        Ok(found) => found,
        Err(Error::Permission) => {
            return vec![Check::skipped("kube-proxy", "only CAP_NET_ADMIN may list the tables of nf_tables")];
        }
        Err(error) => return vec![Check::skipped("kube-proxy", error.to_string())],
    };
    tables.retain(|neighbour| neighbour.proxy == Proxy::Portolan);
    let mut checks = kube_proxy(&traces);
    checks.extend(portolan(&tables, table));
    checks
}

fn kube_proxy(traces: &[String]) -> Vec<Check> {
    const NAME: &str = "kube-proxy";
    let mut checks = Vec::new();
    if !traces.is_empty() {
        let hint = "remove them once Portolan is ready on this node: `portolan cleanup --kube-proxy` for mode \
                    nftables, `kube-proxy --cleanup` for the others";
        checks.push(Check::warning(NAME, format!("its rules are on this node: {}", traces.join(", ")), hint));
    }
    for (command, table) in kube_proxy::legacy_tables() {
        checks.push(Check::warning(
            NAME,
            format!(
                "the kernel has the legacy iptables table {table}, whose chains cannot be seen from here"
            ),
            format!("`{command} | grep KUBE-SERVICES` prints nothing if they are not kube-proxy's"),
        ));
    }
    or_ok(checks, NAME, "it has no rules on this node")
}

fn portolan(tables: &[Neighbour], table: &str) -> Vec<Check> {
    const NAME: &str = "portolan";
    let (own, others): (Vec<_>, Vec<_>) = tables.iter().partition(|neighbour| neighbour.table == table);
    let names = |tables: &[&Neighbour]| tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut checks = Vec::new();
    if !others.is_empty() {
        let hint = "two agents serve the same Services twice: `portolan cleanup --table-name NAME` removes one, or \
                    give one of them --service-proxy-name";
        checks.push(Check::warning(NAME, format!("tables of another name: {}", names(&others)), hint));
    }
    if own.is_empty() {
        checks.push(Check::ok(NAME, format!("there is no table {table} yet")));
    } else {
        checks.push(Check::ok(NAME, format!("`run` takes over what is there: {}", names(&own))));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::precheck::Status;

    fn neighbour(table: &str) -> Neighbour {
        Neighbour { proxy: Proxy::Portolan, family: "ip", table: table.to_owned() }
    }

    #[test]
    fn a_table_of_another_name_is_another_agent() {
        let statuses = |tables: &[&str]| -> Vec<Status> {
            let tables: Vec<_> = tables.iter().map(|table| neighbour(table)).collect();
            portolan(&tables, "portolan").iter().map(|check| check.status).collect()
        };
        assert_eq!(statuses(&[]), [Status::Ok]);
        assert_eq!(statuses(&["portolan"]), [Status::Ok]);
        assert_eq!(statuses(&["edge", "portolan"]), [Status::Warning, Status::Ok]);
    }
}
