//! `make bench`: the cost of finding and removing one stale UDP flow among 100,000, and of finding none of other
//! protocols.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use portolan::kernel::{
    conntrack::Conntrack,
    nftables::{Kernel, Tables},
};
use portolan_rules::{
    compile::Compiler,
    incremental::flows::{Destination, Flows},
    model::{Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort},
    plane::Config,
    ruleset::{Ruleset, diff::diff},
    state::State,
};

const FLOWS: u32 = 100_000;
const RUNS: u32 = 15;
const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    measure().map_or_else(
        |error| {
            eprintln!("bench_flows: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn measure() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("a network namespace requires root: {error}"))?;
    for arguments in [["link", "set", "lo", "up"].as_slice(), &["addr", "add", "10.0.0.1/8", "dev", "lo"]] {
        if !Command::new("ip").args(arguments).status()?.success() {
            return Err(format!("ip {} failed", arguments.join(" ")).into());
        }
    }
    program_service()?;
    let socket = UdpSocket::bind((Ipv4Addr::new(10, 0, 0, 1), 0))?;
    for n in 0..FLOWS {
        let [_, a, b, c] = n.to_be_bytes();
        // No process listens there, which the kernel occasionally reports to the socket.
        let _ = socket.send_to(b"?", (Ipv4Addr::new(127, 1 + a, b, c), 9));
    }
    let count = || -> Result<u32> {
        Ok(std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?.trim().parse()?)
    };
    if count()? < FLOWS {
        return Err(format!("only {} flows fit: raise net.netfilter.nf_conntrack_max", count()?).into());
    }

    let mut conntrack = Conntrack::open()?;
    println!();
    println!("One stale UDP flow among {} others, removed:", count()?);
    println!();
    println!("| UDP frontends that lost an endpoint | median |");
    println!("|---|---|");
    for frontends in [1, 2, 4, 5, 1000] {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            // The request creates the flow to the only endpoint; it is stale once another endpoint serves alone.
            socket.send_to(b"?", (CLUSTER_IP, 53))?;
            let flows = stale(frontends);
            let started = Instant::now();
            let removed = portolan_integration::remove_stale(&mut conntrack, &flows)?;
            times.push(started.elapsed());
            if removed != 1 {
                return Err(format!("{removed} flows were removed, not one").into());
            }
        }
        times.sort_unstable();
        println!("| {frontends} | {} |", millis(times[times.len() / 2]));
    }
    println!();
    println!("| frontends that an endpoint is gone of, none stale | TCP | SCTP |");
    println!("|---|---|---|");
    for frontends in [1, 1000] {
        let mut median = |protocol| -> Result<String> {
            let flows = gone(protocol, frontends);
            let mut times = Vec::new();
            for _ in 0..RUNS {
                let started = Instant::now();
                portolan_integration::remove_stale(&mut conntrack, &flows)?;
                times.push(started.elapsed());
            }
            times.sort_unstable();
            Ok(millis(times[times.len() / 2]))
        };
        let [tcp, sctp] = [Protocol::Tcp, Protocol::Sctp].map(&mut median);
        println!("| {frontends} | {} | {} |", tcp?, sctp?);
    }
    Ok(())
}

/// A number of frontends of a protocol, each without an endpoint that it had.
fn gone(protocol: Protocol, frontends: u16) -> Flows {
    let mut flows = Flows::default();
    for n in 0..frontends {
        let destination = Destination::new(protocol, (CLUSTER_IP, 53 + n).into());
        flows.add_gone(destination, [SocketAddr::from(([10, 0, 0, 3], 53))]);
    }
    flows
}

/// A number of frontends, each served by an endpoint that no flow leads to.
fn stale(frontends: u16) -> Flows {
    let serving = || Some(Arc::from([SocketAddr::from(([10, 0, 0, 3], 53))]));
    (0..frontends).map(|n| (SocketAddr::from((CLUSTER_IP, 53 + n)), serving())).collect()
}

/// Commits the rules for a Service at [`CLUSTER_IP`] with one endpoint.
fn program_service() -> Result<()> {
    let name = ObjectName::new("default", "dns");
    let port = ServicePort { name: "".into(), protocol: Protocol::Udp, port: 53, node_port: None };
    let service = Service::cluster_ip(name.clone(), vec![CLUSTER_IP.into()], vec![port]);
    let slice = EndpointSlice {
        name: name.clone(),
        service: name.name.clone(),
        ports: vec![EndpointPort { name: "".into(), protocol: Protocol::Udp, port: 53 }],
        endpoints: vec![Endpoint::ready([10, 0, 0, 2].into())],
    };
    let mut state = State::new(Node::default());
    state.set_service(&name, Some(Arc::new(service)));
    state.set_slice(&name, Some(Arc::new(slice)));
    let config = Config::default();
    let mut compiler = Compiler::new(config.clone());
    compiler.load(&mut state, &Ruleset::default());
    Kernel::open()?.commit(&diff(&config.table, &Ruleset::default(), &compiler.ruleset()))?;
    Ok(())
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
