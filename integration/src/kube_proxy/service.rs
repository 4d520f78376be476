//! One Service with a ClusterIP, a node port and a load balancer's address, as kube-proxy programs it in its modes
//! nftables and iptables: chains, order and marks are those of kube-proxy 1.36; only the hashes in the chains' names
//! are not.

use std::{
    fmt::{self, Write},
    net::{IpAddr, SocketAddr},
};

use crate::{Protocol, lab::Family};

/// A Service in one family.
#[derive(Debug, Clone)]
pub struct ProxiedService {
    /// Its ClusterIP.
    pub cluster_ip: IpAddr,
    /// The address of its load balancer.
    pub load_balancer: IpAddr,
    /// The node's address.
    pub node: IpAddr,
    /// The port at the ClusterIP and the load balancer's address.
    pub port: u16,
    /// The node port.
    pub node_port: u16,
    /// Its protocols.
    pub protocols: Vec<Protocol>,
    /// Its endpoints; not empty.
    pub endpoints: Vec<SocketAddr>,
    /// The pods' network, as `clusterCIDR`.
    pub pods: String,
    /// The networks of ClusterIPs.
    pub services: String,
}

impl ProxiedService {
    /// The address family.
    pub fn family(&self) -> Family {
        if self.cluster_ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The table of mode nftables, for `nft -f`.
    pub fn nftables(&self) -> String {
        let (ip, table) = match self.family() {
            Family::V4 => ("ip", "ip kube-proxy"),
            Family::V6 => ("ip6", "ip6 kube-proxy"),
        };
        let mut text = format!("add table {table}\n");
        for line in super::FULL.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line = line.replace("TABLE", table).replace("172.16.0.0/12", &self.services);
            let line = line.replace(" ip daddr", &format!(" {ip} daddr"));
            let line = line.replace(" ip saddr", &format!(" {ip} saddr"));
            text += &if ip == "ip6" { line.replace("ipv4_addr", "ipv6_addr") } else { line };
            text += "\n";
        }
        // Writing into a `String` does not fail.
        let _ = self.write_nftables(ip, table, &mut text);
        text
    }

    fn write_nftables(&self, ip: &str, table: &str, out: &mut String) -> fmt::Result {
        let Self { cluster_ip, load_balancer, node, port, node_port, pods, .. } = self;
        writeln!(out, "add element {table} nodeport-ips {{ {node} }}")?;
        writeln!(out, "add element {table} cluster-ips {{ {cluster_ip} }}")?;
        writeln!(
            out,
            "add rule {table} services {ip} daddr @cluster-ips {ip} saddr != {pods} mark set mark or 0x4000"
        )?;
        let destination = format!("{ip} daddr . meta l4proto . th dport vmap @service-ips");
        writeln!(out, "add rule {table} services {destination}")?;
        let node_ports = "meta l4proto . th dport vmap @service-nodeports";
        writeln!(out, "add rule {table} services {ip} daddr @nodeport-ips {node_ports}")?;
        for protocol in self.protocols.iter().map(|protocol| protocol.name().to_lowercase()) {
            let [chain, external] =
                ["service", "external"].map(|kind| format!("{kind}-ABCDEFGH-default/shop/{protocol}/p"));
            writeln!(out, "add chain {table} {chain}\nadd chain {table} {external}")?;
            writeln!(out, "add rule {table} {external} jump mark-for-masquerade")?;
            writeln!(out, "add rule {table} {external} goto {chain}")?;
            let slots = self.endpoints.iter().enumerate();
            let slots: Vec<String> =
                slots.map(|(i, at)| format!("{i} : {} . {}", at.ip(), at.port())).collect();
            let draw = format!("numgen random mod {} map {{ {} }}", slots.len(), slots.join(", "));
            writeln!(out, "add rule {table} {chain} meta l4proto {protocol} dnat {ip} to {draw}")?;
            for (address, chain) in [(cluster_ip, &chain), (load_balancer, &external)] {
                let key = format!("{address} . {protocol} . {port}");
                writeln!(out, "add element {table} service-ips {{ {key} : goto {chain} }}")?;
            }
            let key = format!("{protocol} . {node_port}");
            writeln!(out, "add element {table} service-nodeports {{ {key} : goto {external} }}")?;
            for at in &self.endpoints {
                let key = format!("{0} . {0} . {protocol} . {1}", at.ip(), at.port());
                writeln!(out, "add element {table} hairpin-connections {{ {key} }}")?;
            }
        }
        Ok(())
    }

    /// The chains of mode iptables, for `iptables-restore` or `ip6tables-restore` with `--noflush`.
    pub fn iptables(&self) -> String {
        let mut text = String::new();
        // Writing into a `String` does not fail.
        let _ = self.write_iptables(&mut text);
        text
    }

    /// What `kube-proxy --cleanup` passes to the same programs: removes its jumps from the chains of others, then its
    /// chains.
    pub fn without_iptables(&self) -> String {
        let (mut text, mut chains) = (String::new(), String::new());
        for line in self.iptables().lines() {
            if let Some(name) = line.strip_prefix(':').and_then(|line| line.split(' ').next()) {
                text += &format!("{line}\n");
                chains += &format!("-X {name}\n");
            } else if let Some(jump) = line.strip_prefix("-A ").filter(|rule| !rule.starts_with("KUBE-")) {
                text += &format!("-D {jump}\n");
            } else if line == "COMMIT" {
                text += &format!("{}COMMIT\n", std::mem::take(&mut chains));
            } else if line.starts_with('*') {
                text += &format!("{line}\n");
            }
        }
        text
    }

    fn write_iptables(&self, out: &mut String) -> fmt::Result {
        let Self { cluster_ip, load_balancer, port, node_port, pods, .. } = self;
        out.push_str(FILTER);
        out.push_str(NAT);
        let mut rules = String::new();
        for protocol in self.protocols.iter().map(|protocol| protocol.name().to_lowercase()) {
            let upper = protocol.to_uppercase();
            let (service, external) = (format!("KUBE-SVC-SHOP{upper}"), format!("KUBE-EXT-SHOP{upper}"));
            writeln!(out, ":{service} - [0:0]\n:{external} - [0:0]")?;
            let to = |port: &u16| format!("-p {protocol} -m {protocol} --dport {port}");
            writeln!(rules, "-A KUBE-SERVICES -d {cluster_ip} {} -j {service}", to(port))?;
            writeln!(rules, "-A KUBE-SERVICES -d {load_balancer} {} -j {external}", to(port))?;
            writeln!(rules, "-A KUBE-NODEPORTS {} -j {external}", to(node_port))?;
            writeln!(rules, "-A {external} -j KUBE-MARK-MASQ\n-A {external} -j {service}")?;
            writeln!(rules, "-A {service} ! -s {pods} -d {cluster_ip} {} -j KUBE-MARK-MASQ", to(port))?;
            for (i, at) in self.endpoints.iter().enumerate() {
                let chain = format!("KUBE-SEP-SHOP{upper}{i}");
                writeln!(out, ":{chain} - [0:0]")?;
                let left = u16::try_from(self.endpoints.len() - i).unwrap_or(u16::MAX);
                let share = 1.0 / f64::from(left);
                let draw = if left > 1 {
                    format!("-m statistic --mode random --probability {share:.11} ")
                } else {
                    String::new()
                };
                writeln!(rules, "-A {service} {draw}-j {chain}")?;
                writeln!(rules, "-A {chain} -s {} -j KUBE-MARK-MASQ", at.ip())?;
                writeln!(rules, "-A {chain} -p {protocol} -m {protocol} -j DNAT --to-destination {at}")?;
            }
        }
        writeln!(rules, "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT")?;
        out.push_str(&rules);
        Ok(())
    }
}

const FILTER: &str = "*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

const NAT: &str = "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
";
