//! The rules that kube-proxy's nftables mode would write, as the text that it passes to `nft -f -`.
//!
//! Tables, chains, rules and their order of magnitude are those of kube-proxy 1.36: one command per line, and a chain
//! for each ServicePort. Only the eight letters that begin a chain's name are not from a SHA-256, since nothing
//! depends on them.

mod service;

use std::{
    fmt::{self, Write},
    net::{Ipv4Addr, SocketAddr},
};

pub use self::service::ProxiedService;

use crate::synthetic::{PORT, Synthetic, service_name};

/// How a ServicePort leads to its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A chain for each ServicePort and for each endpoint, and a verdict map that chooses among them: older versions.
    A,
    /// A chain for each ServicePort, with one rule that holds a map of the endpoints: 1.36.
    B,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Which part of the table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything that kube-proxy writes: checks before and after the translation, masquerading, node ports.
    Full,
    /// Only the nat chains, the map of frontends and the ServicePorts: less than on a real node.
    Bare,
}

/// The table of one family.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// How a ServicePort leads to its endpoints.
    pub shape: Shape,
    /// Which part of the table is written.
    pub extent: Extent,
    /// The pods' network, as `clusterCIDR`.
    pub pods: (Ipv4Addr, u8),
    /// The address on which node ports would be accepted.
    pub node: Ipv4Addr,
}

impl Table {
    /// The first sync: the whole table.
    pub fn load(&self, services: &Synthetic) -> String {
        let mut text = String::new();
        // Writing into a `String` does not fail.
        let _ = self.write_load(services, &mut text);
        text
    }

    /// A later sync, after these endpoints replaced those of Service `n`.
    pub fn change(&self, services: &Synthetic, n: u32, endpoints: &[SocketAddr]) -> String {
        let mut text = String::new();
        let _ = self.write_service(services, n, endpoints, &mut text);
        if self.shape == Shape::A {
            // Chains of removed endpoints are emptied now, and deleted by a later sync.
            for gone in services.endpoints(n).iter().filter(|endpoint| !endpoints.contains(endpoint)) {
                let _ = writeln!(text, "flush chain {TABLE} {}", endpoint_chain(n, *gone));
            }
        }
        text
    }

    fn write_load(&self, services: &Synthetic, out: &mut String) -> fmt::Result {
        let (network, length) = self.pods;
        let pods = format!("{network}/{length}");
        writeln!(out, "add table {TABLE} {{ comment \"rules for kube-proxy\" ; }}")?;
        let scaffold = match self.extent {
            Extent::Full => FULL,
            Extent::Bare => BARE,
        };
        for line in scaffold.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // Shape A masquerades hairpin connections in the chain of the endpoint.
            if self.shape == Shape::A && line.contains("hairpin-connections") {
                continue;
            }
            writeln!(out, "{}", line.replace("TABLE", TABLE))?;
        }
        if self.extent == Extent::Full {
            if self.shape == Shape::B {
                writeln!(
                    out,
                    "add rule {TABLE} services ip daddr @cluster-ips ip saddr != {pods} mark set mark or 0x4000 \
                     comment \"masquerade clusterIP traffic from outside cluster\""
                )?;
            }
            writeln!(out, "add element {TABLE} nodeport-ips {{ {} }}", self.node)?;
        }
        writeln!(out, "add rule {TABLE} services ip daddr . meta l4proto . th dport vmap @service-ips")?;
        if self.extent == Extent::Full {
            writeln!(
                out,
                "add rule {TABLE} services ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"
            )?;
        }
        for n in 0..services.len() {
            self.write_service(services, n, &services.endpoints(n), out)?;
            let address = services.cluster_ip(n);
            if self.extent == Extent::Full {
                writeln!(out, "add element {TABLE} cluster-ips {{ {address} }}")?;
            }
            writeln!(
                out,
                "add element {TABLE} service-ips {{ {address} . tcp . {PORT} : goto {} }}",
                service_chain(n)
            )?;
            if self.extent == Extent::Full && self.shape == Shape::B && services.is_local(n) {
                for endpoint in services.endpoints(n) {
                    let (ip, port) = (endpoint.ip(), endpoint.port());
                    writeln!(
                        out,
                        "add element {TABLE} hairpin-connections {{ {ip} . {ip} . tcp . {port} }}"
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The chains of Service `n`, replacing whatever they held before.
    fn write_service(
        &self,
        services: &Synthetic,
        n: u32,
        endpoints: &[SocketAddr],
        out: &mut String,
    ) -> fmt::Result {
        if self.shape == Shape::A {
            for endpoint in endpoints {
                let chain = endpoint_chain(n, *endpoint);
                writeln!(out, "add chain {TABLE} {chain}\nflush chain {TABLE} {chain}")?;
                if self.extent == Extent::Full {
                    let ip = endpoint.ip();
                    writeln!(out, "add rule {TABLE} {chain} ip saddr {ip} jump mark-for-masquerade")?;
                }
                writeln!(out, "add rule {TABLE} {chain} meta l4proto tcp dnat to {endpoint}")?;
            }
        }
        let chain = service_chain(n);
        writeln!(out, "add chain {TABLE} {chain}\nflush chain {TABLE} {chain}")?;
        let count = endpoints.len();
        match self.shape {
            Shape::A => {
                if self.extent == Extent::Full {
                    let (network, length) = self.pods;
                    writeln!(
                        out,
                        "add rule {TABLE} {chain} ip daddr {} tcp dport {PORT} ip saddr != {network}/{length} \
                         jump mark-for-masquerade",
                        services.cluster_ip(n)
                    )?;
                }
                write!(out, "add rule {TABLE} {chain} numgen random mod {count} vmap {{ ")?;
                for (i, endpoint) in endpoints.iter().enumerate() {
                    write!(out, "{i} : goto {} , ", endpoint_chain(n, *endpoint))?;
                }
            }
            Shape::B => {
                write!(
                    out,
                    "add rule {TABLE} {chain} meta l4proto tcp dnat ip to numgen random mod {count} map {{ "
                )?;
                for (i, endpoint) in endpoints.iter().enumerate() {
                    write!(out, "{i} : {} . {} , ", endpoint.ip(), endpoint.port())?;
                }
            }
        }
        writeln!(out, "}}")
    }
}

const TABLE: &str = "ip kube-proxy";

fn service_chain(n: u32) -> String {
    let name = service_name(n);
    format!("service-{}-{}/{}/tcp/http", letters(n), name.namespace, name.name)
}

fn endpoint_chain(n: u32, endpoint: SocketAddr) -> String {
    let name = service_name(n);
    let (ip, port) = (endpoint.ip(), endpoint.port());
    format!("endpoint-{}-{}/{}/tcp/http__{ip}/{port}", letters(n), name.namespace, name.name)
}

/// Eight letters that differ for different numbers and look like the base32 of a hash.
fn letters(n: u32) -> String {
    let mixed = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    (0..8)
        .map(|i| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[(mixed >> (5 * i) & 31) as usize]))
        .collect()
}

/// The table before the first ServicePort, with everything that kube-proxy writes.
const FULL: &str = "
    add chain TABLE filter-prerouting-pre-dnat { type filter hook prerouting priority -110 ; }
    add chain TABLE filter-output-pre-dnat { type filter hook output priority -110 ; }
    add chain TABLE filter-input { type filter hook input priority 0 ; }
    add chain TABLE filter-forward { type filter hook forward priority 0 ; }
    add chain TABLE filter-output { type filter hook output priority 0 ; }
    add chain TABLE nat-prerouting { type nat hook prerouting priority -100 ; }
    add chain TABLE nat-output { type nat hook output priority -100 ; }
    add chain TABLE nat-postrouting { type nat hook postrouting priority 100 ; }
    add set TABLE cluster-ips { type ipv4_addr ; comment \"Active ClusterIPs\" ; }
    add set TABLE nodeport-ips { type ipv4_addr ; comment \"IPs that accept NodePort traffic\" ; }
    add set TABLE hairpin-connections { type ipv4_addr . ipv4_addr . inet_proto . inet_service ; comment \"service hairpin connections\" ; }
    add map TABLE firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict ; comment \"destinations that are subject to LoadBalancerSourceRanges\" ; }
    add map TABLE no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict ; comment \"vmap to drop or reject packets to services with no endpoints\" ; }
    add map TABLE no-endpoint-nodeports { type inet_proto . inet_service : verdict ; comment \"vmap to drop or reject packets to service nodeports with no endpoints\" ; }
    add map TABLE service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; comment \"ClusterIP, ExternalIP and LoadBalancer IP traffic\" ; }
    add map TABLE service-nodeports { type inet_proto . inet_service : verdict ; comment \"NodePort traffic\" ; }
    add chain TABLE mark-for-masquerade
    add chain TABLE masquerading
    add chain TABLE firewall-check
    add chain TABLE nodeport-endpoints-check
    add chain TABLE service-endpoints-check
    add chain TABLE cluster-ips-check
    add chain TABLE services
    add chain TABLE reject-chain { comment \"helper for @no-endpoint-services / @no-endpoint-nodeports\" ; }
    add rule TABLE mark-for-masquerade mark set mark or 0x4000
    add rule TABLE masquerading mark and 0x4000 != 0 mark set mark xor 0x4000 masquerade fully-random
    add rule TABLE masquerading ct status dnat ip saddr . ip daddr . meta l4proto . th dport @hairpin-connections masquerade fully-random
    add rule TABLE firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
    add rule TABLE nodeport-endpoints-check ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
    add rule TABLE service-endpoints-check ip daddr . meta l4proto . th dport vmap @no-endpoint-services
    add rule TABLE cluster-ips-check ip daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\"
    add rule TABLE cluster-ips-check ip daddr { 172.16.0.0/12 } drop comment \"Drop traffic to unallocated ClusterIPs\"
    add rule TABLE reject-chain reject
    add rule TABLE filter-prerouting-pre-dnat ct state new jump firewall-check
    add rule TABLE filter-output-pre-dnat ct state new jump firewall-check
    add rule TABLE filter-input ct state new jump nodeport-endpoints-check
    add rule TABLE filter-input ct state new jump service-endpoints-check
    add rule TABLE filter-forward ct state new jump service-endpoints-check
    add rule TABLE filter-forward ct state new jump cluster-ips-check
    add rule TABLE filter-output ct state new jump service-endpoints-check
    add rule TABLE filter-output ct state new jump cluster-ips-check
    add rule TABLE nat-prerouting jump services
    add rule TABLE nat-output jump services
    add rule TABLE nat-postrouting jump masquerading
";

/// The table before the first ServicePort, with the minimum that translates.
const BARE: &str = "
    add chain TABLE nat-prerouting { type nat hook prerouting priority -100 ; }
    add chain TABLE nat-output { type nat hook output priority -100 ; }
    add map TABLE service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }
    add chain TABLE services
    add rule TABLE nat-prerouting jump services
    add rule TABLE nat-output jump services
";
