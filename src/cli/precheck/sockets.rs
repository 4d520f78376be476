//! Checks the ports that the agent needs or that are node ports, and names the processes that use them.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::SocketAddr,
    ops::RangeInclusive,
};

use procfs::{
    net::{self, TcpState, UdpState},
    process::{FDTarget, all_processes},
};

use super::outcome::{Check, or_ok};
use crate::{
    config::{
        Row,
        options::{HEALTHZ_BIND_ADDRESS, METRICS_BIND_ADDRESS},
        settings::RunSettings,
    },
    text::first,
};

const NAME: &str = "ports";

/// How many sockets of one kind are named.
const SHOWN: usize = 10;

/// A socket that waits for connections or datagrams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Socket {
    protocol: &'static str,
    address: SocketAddr,
    /// `name (pid N)`; `None` if the process cannot be seen from here.
    process: Option<String>,
}

impl Socket {
    /// Describes the socket for people.
    fn describe(&self) -> String {
        let process = self.process.as_deref().unwrap_or("a process that cannot be seen from here");
        format!("{} {} by {process}", self.protocol, self.address)
    }

    fn is_of(&self, name: &str) -> bool {
        self.process.as_deref().is_some_and(|process| process.starts_with(&format!("{name} (")))
    }
}

pub fn check(settings: &RunSettings, node_ports: &RangeInclusive<u16>) -> Vec<Check> {
    let sockets = read();
    let mut checks = Vec::new();
    for (row, address) in
        [(&HEALTHZ_BIND_ADDRESS, settings.healthz), (&METRICS_BIND_ADDRESS, settings.metrics)]
    {
        let Some(address) = address else { continue };
        let taken =
            sockets.iter().find(|socket| socket.protocol == "TCP" && conflicts(socket.address, address));
        checks.extend(taken.map(|socket| taken_by(socket, row, settings)));
    }
    checks.extend(in_node_ports(&sockets, node_ports));
    let sysctl = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let (local, reserved) = (sysctl("ip_local_port_range"), sysctl("ip_local_reserved_ports"));
    if let Some(overlap) = overlap(&local, &reserved, node_ports) {
        let message = format!(
            "ports {}-{} are node ports and given to connections from this node as well",
            overlap.start(),
            overlap.end()
        );
        let hint = "add them to net.ipv4.ip_local_reserved_ports";
        checks.push(Check::warning(NAME, message, hint));
    }
    or_ok(checks, NAME, "those that the agent needs are free")
}

fn taken_by(socket: &Socket, row: &Row, settings: &RunSettings) -> Check {
    let option = settings.origin.short_name(row);
    let message = format!("{option}: taken: {}", socket.describe());
    if socket.is_of("kube-proxy") {
        Check::warning(NAME, message, "kube-proxy must end on this node before Portolan can listen there")
    } else if socket.is_of("portolan") || socket.process.is_none() {
        Check::warning(
            NAME,
            message,
            "expected if this is the agent, or the kube-proxy that is to be replaced",
        )
    } else {
        Check::failed(NAME, message, "choose another address or port, or end that process")
    }
}

/// Finds listeners on node ports. A node port takes precedence: a Service takes the listener's connections.
fn in_node_ports(sockets: &BTreeSet<Socket>, node_ports: &RangeInclusive<u16>) -> Option<Check> {
    // These processes listen on the health check node ports of Services.
    let is_proxy = |socket: &Socket| socket.is_of("kube-proxy") || socket.is_of("portolan");
    let found: Vec<String> = sockets
        .iter()
        .filter(|socket| node_ports.contains(&socket.address.port()))
        .filter(|socket| !socket.address.ip().is_loopback() && !is_proxy(socket))
        .map(Socket::describe)
        .collect();
    let message = format!("within the range of node ports: {}", first(&found, SHOWN));
    let hint =
        "a Service with that node port takes its connections, and its health check node port cannot be bound";
    (!found.is_empty()).then(|| Check::warning(NAME, message, hint))
}

fn conflicts(taken: SocketAddr, wanted: SocketAddr) -> bool {
    let (taken_ip, wanted_ip) = (taken.ip().to_canonical(), wanted.ip().to_canonical());
    taken.port() == wanted.port()
        && (taken_ip.is_unspecified() || wanted_ip.is_unspecified() || taken_ip == wanted_ip)
}

/// Returns the ports of both ranges that are not reserved, as a range from the first to the last, if there are any.
fn overlap(local: &str, reserved: &str, node_ports: &RangeInclusive<u16>) -> Option<RangeInclusive<u16>> {
    let mut bounds = local.split_whitespace().map(|port| port.parse::<u16>().ok());
    let local = bounds.next()??..=bounds.next()??;
    let reserved: Vec<RangeInclusive<u16>> = reserved
        .trim()
        .split(',')
        .filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some(from.parse().ok()?..=to.parse().ok()?)
        })
        .collect();
    let is_given = |port: &u16| local.contains(port) && !reserved.iter().any(|range| range.contains(port));
    let mut both = node_ports.clone().filter(is_given);
    let first = both.next()?;
    Some(first..=both.next_back().unwrap_or(first))
}

/// Reads the sockets of this network namespace, with their processes as far as these can be seen.
fn read() -> BTreeSet<Socket> {
    let tcp = [net::tcp(), net::tcp6()].into_iter().flatten().flatten();
    let tcp = tcp.filter(|entry| entry.state == TcpState::Listen);
    let udp = [net::udp(), net::udp6()].into_iter().flatten().flatten();
    // Sockets without a peer.
    let udp = udp.filter(|entry| entry.state == UdpState::Close);
    let processes = processes();
    tcp.map(|entry| ("TCP", entry.local_address, entry.inode))
        .chain(udp.map(|entry| ("UDP", entry.local_address, entry.inode)))
        .map(|(protocol, address, inode)| Socket {
            protocol,
            address,
            process: processes.get(&inode).cloned(),
        })
        .collect()
}

/// Returns the process of each socket, by inode. Processes of other users or of another PID namespace are not seen.
fn processes() -> HashMap<u64, String> {
    let mut processes = HashMap::new();
    for process in all_processes().into_iter().flatten().flatten() {
        let files = process.fd().into_iter().flatten().flatten();
        let mut name = None;
        for file in files {
            let FDTarget::Socket(inode) = file.target else { continue };
            let name = name.get_or_insert_with(|| {
                let comm = process.stat().map(|stat| stat.comm).unwrap_or_default();
                format!("{comm} (pid {})", process.pid())
            });
            processes.insert(inode, name.clone());
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_conflicts_with_itself_and_with_all() {
        assert!(conflicts(address("0.0.0.0:10256"), address("127.0.0.1:10256")));
        assert!(conflicts(address("[::]:10256"), address("192.0.2.1:10256")));
        assert!(conflicts(address("[::ffff:127.0.0.1]:10249"), address("127.0.0.1:10249")));
        assert!(!conflicts(address("127.0.0.1:10249"), address("192.0.2.1:10249")));
        assert!(!conflicts(address("0.0.0.0:10249"), address("0.0.0.0:10256")));
    }

    #[test]
    fn reserved_ports_are_not_given_to_connections() {
        let range = 30000..=32767;
        assert_eq!(overlap("32768\t60999\n", "\n", &range), None);
        assert_eq!(overlap("1024\t65535\n", "\n", &range), Some(30000..=32767));
        assert_eq!(overlap("1024\t65535\n", "30000-32767\n", &range), None);
        assert_eq!(overlap("1024\t65535\n", "30000-31000,31002-32767\n", &range), Some(31001..=31001));
        assert_eq!(overlap("", "", &range), None);
    }

    #[test]
    fn this_process_is_found_by_its_socket() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let other = std::net::TcpListener::bind("[::1]:0").unwrap();
        let sockets = read();
        for listener in [listener, other] {
            let at = listener.local_addr().unwrap();
            let found = sockets.iter().find(|socket| socket.address == at).expect("it is listed");
            let pid = format!("(pid {})", std::process::id());
            assert!(found.process.as_ref().is_some_and(|process| process.ends_with(&pid)), "{found:?}");
        }
    }
}
