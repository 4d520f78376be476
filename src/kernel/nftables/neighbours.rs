//! Finds the service proxies that have rules in this network namespace.

use std::{collections::BTreeSet, fmt, ops::ControlFlow};

use portolan_rules::plane::chains;

use super::{attributes::Message, error::Error, handle::Kernel, uapi::*, wire};
use crate::config::settings::KUBE_PROXY_TABLE;

/// Chains of kube-proxy in its modes iptables and ipvs. `KUBE-FIREWALL`, `KUBE-IPTABLES-HINT` and `KUBE-KUBELET-CANARY`
/// are the kubelet's, and no sign of kube-proxy.
const KUBE_PROXY_CHAINS: [&str; 3] = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-CANARY"];

/// The proxy that a table belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proxy {
    /// kube-proxy's in mode nftables.
    KubeProxyNftables,
    /// kube-proxy's in mode iptables or ipvs, written by an iptables that uses `nf_tables`.
    KubeProxyIptables,
    /// Portolan's.
    Portolan,
}

/// A table with the rules of a service proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The proxy that it belongs to.
    pub proxy: Proxy,
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// Its name.
    pub table: String,
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.table)
    }
}

impl Kernel {
    /// Returns the tables of this network namespace that have rules of a service proxy, whatever their names are.
    /// Chains of legacy iptables, which is another subsystem of the kernel, are not included.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, Error> {
        let mut found = BTreeSet::new();
        let read = |message: &Message<'_>| {
            let (family, attributes) = (family_name(message.family()), message.attributes());
            let names = attributes.string(NFTA_TABLE_NAME).zip(attributes.string(NFTA_CHAIN_NAME));
            if let (Some(family), Some((table, chain))) = (family, names)
                && let Some(proxy) = proxy(table, chain)
            {
                found.insert(Neighbour { proxy, family, table: table.to_owned() });
            }
            ControlFlow::Continue(())
        };
        self.connection.ask(wire::nf_tables(NFT_MSG_GETCHAIN), 0, true, |_| (), read)?;
        Ok(found.into_iter().collect())
    }
}

fn proxy(table: &str, chain: &str) -> Option<Proxy> {
    if table == KUBE_PROXY_TABLE {
        Some(Proxy::KubeProxyNftables)
    } else if KUBE_PROXY_CHAINS.contains(&chain) {
        Some(Proxy::KubeProxyIptables)
    } else if chain.starts_with(chains::SHORT_CIRCUIT_NODE_PORT) {
        // Every table of Portolan has this chain; in the other plane, its name has a suffix.
        Some(Proxy::Portolan)
    } else {
        None
    }
}

/// The families of tables that see packets for Services (`NFPROTO_…`).
const fn family_name(number: u8) -> Option<&'static str> {
    match number {
        1 => Some("inet"),
        2 => Some("ip"),
        10 => Some("ip6"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_makes_is_not_kube_proxy_s() {
        for chain in ["KUBE-FIREWALL", "KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT", "PREROUTING"] {
            assert_eq!(proxy("nat", chain), None, "{chain}");
        }
        assert_eq!(proxy("nat", "KUBE-SERVICES"), Some(Proxy::KubeProxyIptables));
        assert_eq!(proxy("kube-proxy", "services"), Some(Proxy::KubeProxyNftables));
        assert_eq!(proxy("edge", "short-circuit-node-port-b"), Some(Proxy::Portolan));
    }
}
