//! The commands that query the agent on their node, and its page: the time until the answer is printed.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use portolan_integration::{
    Namespace, binary, get,
    synthetic::{Format, Kinds, PORT, Synthetic, service_name},
};
use socket2::{Domain, Type};

use super::{Result, arena::best, figure::Figure, manifests::Running};

/// Where the page is by default (kube-proxy's `--metrics-bind-address`).
const METRICS: ([u8; 4], u16) = ([127, 0, 0, 1], 10249);
/// Runs of each command; the fastest counts.
const ROUNDS: usize = 7;
/// Files of manifests.
const FILES: u32 = 100;
/// Tracked connections.
const FLOWS: u32 = 100_000;
/// The most Services that these connections lead to.
const CONNECTED: u32 = 1_000;

/// Every command that queries the agent, and its pages.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let synthetic = Synthetic::new(services, Kinds::Plain);
    let manifests = tempfile::tempdir()?;
    synthetic.write(manifests.path(), FILES, Format::Json)?;
    let namespace = Namespace::new("bench")?;
    let socket = manifests.path().join("agent.sock").display().to_string();
    let _agent = Running::start(&namespace, manifests.path(), &["--socket", &socket])?;

    let name = service_name(services / 2);
    let (of, one) = (name.namespace.to_string(), name.name.to_string());
    let named = format!("svc/{name}:{PORT}");
    let archive = manifests.path().join("bundle.tar.gz").display().to_string();
    let commands: &[(&str, &[&str])] = &[
        ("live-get-name", &["get", "services", &one, "-n", &of]),
        ("live-get", &["get", "services", "-A"]),
        ("live-endpoints", &["get", "endpoints", "-A"]),
        ("live-json", &["get", "services", "-A", "-o", "json"]),
        ("live-describe", &["describe", "service", &one, "-n", &of]),
        ("live-trace", &["trace", "outside", &named]),
        ("live-check", &["check"]),
        ("live-draw", &["draw", &one, "-n", &of, "-o", "svg"]),
        ("live-bundle", &["support-bundle", "--file", &archive]),
    ];
    let time = |row: &str, arguments: &[&str]| time(&namespace, &socket, row, arguments);
    let mut figures = Vec::new();
    for (row, arguments) in commands {
        figures.push(time(row, arguments)?);
    }
    let path = format!("/services/{of}/{one}");
    figures.push(page(&namespace, "live-page", &["/", "/?page=2", "/?q=service-1", &path, "/commits"])?);

    track(&namespace, &synthetic)?;
    figures.push(time("live-flows", &["flows"])?);
    figures.push(time("live-flows-count", &["flows", "--count"])?);
    figures.push(time("live-flows-name", &["flows", &service_name(0).to_string()])?);
    Ok(figures)
}

/// The fastest of several runs of a command, whose output is piped to a program that counts the bytes.
fn time(namespace: &Namespace, socket: &str, row: &str, arguments: &[&str]) -> Result<Figure> {
    let program = binary()?.display().to_string();
    let piped = ["-o", "pipefail", "-c", r#""$@" | wc -c"#, "bash", &program];
    let arguments = [&piped, arguments, &["--socket", socket]].concat();
    let mut times = Vec::new();
    let mut length = 0_u32;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        length = namespace.filter("bash", &arguments, "")?.trim().parse()?;
        times.push(started.elapsed());
    }
    Ok(Figure::new(row, best(times).as_secs_f64()).with(format!("{:.1} MB", f64::from(length) / 1e6)))
}

/// The time of the slowest page, each the fastest of several requests, and the length of the longest page.
fn page(namespace: &Namespace, row: &str, paths: &[&str]) -> Result<Figure> {
    let (mut slowest, mut longest) = (Duration::ZERO, 0);
    for path in paths {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let started = Instant::now();
            let answer = get(namespace, METRICS.into(), path).ok_or("the agent has no page")?;
            times.push(started.elapsed());
            if answer.code != 200 {
                return Err(format!("{path}: {}", answer.code).into());
            }
            longest = longest.max(answer.body.len());
        }
        slowest = slowest.max(best(times));
    }
    Ok(Figure::new(row, slowest.as_secs_f64()).with(format!("{:.1} MB", longest as f64 / 1e6)))
}

/// Creates many tracked connections to Services, none of which is ever answered.
fn track(namespace: &Namespace, synthetic: &Synthetic) -> Result<()> {
    // The endpoints exist here, and never answer.
    namespace.ip("addr add 10.0.0.1/8 dev lo\nroute add default dev lo\n")?;
    let silence =
        "table ip silence { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }";
    namespace.filter("nft", &["-f", "-"], silence)?;
    let socket = namespace.socket(Domain::IPV4, Type::RAW, Some(RAW))?;
    let services = synthetic.len().min(CONNECTED);
    for n in 0..FLOWS {
        let to = synthetic.cluster_ip(n % services);
        let [_, a, b, c] = n.to_be_bytes();
        socket.send_to(&syn([10, 128 + a, b, c].into(), to), &SocketAddr::from((to, 0)).into())?;
    }
    let count = namespace.filter("cat", &["/proc/sys/net/netfilter/nf_conntrack_count"], "")?;
    if count.trim().parse::<u32>()? < FLOWS {
        return Err(format!("only {} flows fit: raise net.netfilter.nf_conntrack_max", count.trim()).into());
    }
    Ok(())
}

/// `IPPROTO_RAW`: packets include their IPv4 header.
const RAW: i32 = 255;

/// A packet that requests a TCP connection. The kernel fills in its length and the checksum of its header.
fn syn(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(40_000_u16.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend([0; 8]);
    // A header of five words, and the flag SYN.
    packet.extend([0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    packet
}
