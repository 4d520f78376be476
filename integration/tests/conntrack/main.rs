//! Stale flows in a real kernel: needs root. Each test has its own network namespace, in which sockets create real
//! entries through rules that Portolan compiled.
#![allow(missing_docs, reason = "a test has no readers of its interface")]

mod listed;

use std::{
    fmt::Write as _,
    io::Write,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use portolan::kernel::{
    conntrack::{self, Conntrack},
    nftables::{Kernel, Tables},
};
use portolan_rules::{
    compile::Compiler,
    incremental::flows::{Flows, Stale, destinations},
    model::{Endpoint, EndpointPort, EndpointSlice, Node, ObjectName, Protocol, Service, ServicePort},
    plane::Config,
    ruleset::{Family, Ruleset, diff::diff},
    state::State,
};

/// The last part of the clients' address.
const CLIENT: u8 = 9;
/// The last part of the node's address that answers node ports.
const NODE: u8 = 100;

/// Returns an address of the namespace: `10.0.0.LAST` or `fd00::LAST`.
fn local(family: Family, last: u8) -> IpAddr {
    match family {
        Family::Ip => [10, 0, 0, last].into(),
        Family::Ip6 => [0xfd00, 0, 0, 0, 0, 0, 0, last.into()].into(),
    }
}

/// Returns the nth ClusterIP: `10.96.0.N` or `fd96::N`.
fn cluster_ip(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ip => [10, 96, 0, number].into(),
        Family::Ip6 => [0xfd96, 0, 0, 0, 0, 0, 0, number.into()].into(),
    }
}

fn run(program: &str, arguments: &[&str], input: &str) {
    let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().expect(program);
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{program} {arguments:?}");
}

struct World {
    kernel: Kernel,
    conntrack: Conntrack,
    state: State,
    compiler: Compiler,
    /// The last compiled ruleset.
    ruleset: Ruleset,
}

impl World {
    /// Enters a new namespace with the addresses that tests use, all of them local, and the base rules.
    fn new() -> Self {
        portolan_integration::enter_fresh_namespace();
        let addresses = Family::ALL.into_iter().flat_map(|family| {
            let own = [1, 2, 3, CLIENT, NODE].map(|last| local(family, last));
            own.into_iter().chain((1..20).map(move |number| cluster_ip(family, number)))
        });
        let addresses: Vec<IpAddr> = addresses.collect();
        let mut batch = String::from("link set lo up\n");
        for address in &addresses {
            let suffix = if address.is_ipv4() { "/32" } else { "/128 nodad" };
            writeln!(batch, "addr add dev lo {address}{suffix}").unwrap();
        }
        run("ip", &["-batch", "-"], &batch);
        addresses.into_iter().for_each(wait_for_route);
        let mut compiler = Compiler::new(Config::default());
        compiler.set_node_addresses(&Family::ALL.map(|family| local(family, NODE)).into());
        let mut world = Self {
            kernel: Kernel::open().expect("nf_tables"),
            conntrack: Conntrack::open().expect("ctnetlink"),
            state: State::new(Node::default()),
            compiler,
            ruleset: Ruleset::default(),
        };
        world.sync();
        // The rules enable connection tracking. It must remember flows for as long as a slow test takes.
        for name in ["udp_timeout", "udp_timeout_stream", "sctp_timeout_cookie_wait", "tcp_timeout_syn_sent"]
        {
            let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
            std::fs::write(&path, "3600").unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        world
    }

    /// Sets or removes the nth Service, `10.96.0.N:53` and node port `30000 + N`, for every protocol, with
    /// these endpoints on port 53.
    fn service(&mut self, number: u8, endpoints: Option<&[u8]>) {
        let name = ObjectName::new("default", format!("dns-{number}"));
        let port = |protocol: Protocol| ServicePort {
            name: protocol.name().into(),
            protocol,
            port: 53,
            node_port: Some(30_000 + u16::from(number)),
        };
        let cluster_ips = Family::ALL.map(|family| cluster_ip(family, number)).into();
        let ports = Protocol::ALL.map(port).into();
        let service = endpoints.map(|_| Service::cluster_ip(name.clone(), cluster_ips, ports));
        let both = |last: &u8| Family::ALL.map(|family| Endpoint::ready(local(family, *last)));
        let slice = EndpointSlice {
            name: name.clone(),
            service: name.name.clone(),
            ports: Protocol::ALL
                .map(|protocol| EndpointPort { name: protocol.name().into(), protocol, port: 53 })
                .into(),
            endpoints: endpoints.unwrap_or_default().iter().flat_map(both).collect(),
        };
        self.state.set_service(&name, service.map(Arc::new));
        self.state.set_slice(&name, Some(Arc::new(slice)));
    }

    /// Compiles and commits; returns the destinations whose flows may be stale.
    fn sync(&mut self) -> Stale {
        let stale = self.compiler.update(&mut self.state).stale;
        let ruleset = self.compiler.ruleset();
        let transaction = diff(&Config::default().table, &self.ruleset, &ruleset);
        self.kernel.commit(&transaction).expect("the kernel accepts it");
        self.ruleset = ruleset;
        stale
    }

    /// Compiles and commits, and removes the flows that became stale. Returns their number.
    fn clean(&mut self) -> usize {
        let stale = self.sync();
        let mut flows = self.compiler.flows(stale.udp.iter().copied());
        flows.extend(stale.gone());
        portolan_integration::remove_stale(&mut self.conntrack, &flows).expect("stale flows are removed")
    }

    /// Removes all flows to a destination; returns their number.
    fn remove_all(&mut self, destination: SocketAddr) -> usize {
        let no_endpoint: Flows = [(destination, Some([].into()))].into_iter().collect();
        portolan_integration::remove_stale(&mut self.conntrack, &no_endpoint).expect("flows are removed")
    }
}

/// Waits until packets to a local address arrive: the kernel adds the routes of an IPv6 address some time after
/// the address, and drops packets until then.
fn wait_for_route(address: IpAddr) {
    for _ in 0..5_000 {
        if UdpSocket::bind((address, 0)).is_ok_and(|socket| reaches_itself(&socket).is_ok()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no route to {address}");
}

fn reaches_itself(socket: &UdpSocket) -> std::io::Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    socket.send_to(b"?", socket.local_addr()?)?;
    socket.recv_from(&mut [0]).map(drop)
}

/// Returns the number of entries in this namespace's connection tracking table.
fn entries() -> usize {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    std::fs::read_to_string(path).expect(path).trim().parse().expect("a number")
}

/// A UDP server that answers with its name.
struct Server(UdpSocket, u8);

impl Server {
    /// The endpoint of this number, on port 53.
    fn new(family: Family, last: u8) -> Self {
        Self::at((local(family, last), 53).into(), last)
    }

    fn at(address: SocketAddr, name: u8) -> Self {
        let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_nonblocking(true).unwrap();
        Self(socket, name)
    }

    /// Answers all datagrams that have come.
    fn answer(&self) {
        let mut buffer = [0; 8];
        while let Ok((_, client)) = self.0.recv_from(&mut buffer) {
            self.0.send_to(&[self.1], client).expect("a client");
        }
    }
}

/// A UDP client that always sends from one port.
struct Client(UdpSocket);

impl Client {
    fn new(family: Family) -> Self {
        let socket = UdpSocket::bind((local(family, CLIENT), 0)).expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        Self(socket)
    }

    /// Sends a datagram and lets the servers answer; returns the name of the server that did.
    fn ask(&self, destination: SocketAddr, servers: &[Server]) -> Option<u8> {
        self.ask_within(Duration::from_secs(30), destination, servers)
    }

    /// The same for a datagram that should not be answered.
    fn ask_in_vain(&self, destination: SocketAddr, servers: &[Server]) -> Option<u8> {
        self.ask_within(Duration::from_millis(300), destination, servers)
    }

    fn ask_within(&self, limit: Duration, destination: SocketAddr, servers: &[Server]) -> Option<u8> {
        // If the rules reject the datagram, sending may fail or no answer may come.
        let _ = self.0.send_to(b"?", destination);
        let start = Instant::now();
        let mut answer = [0];
        loop {
            servers.iter().for_each(Server::answer);
            match self.0.recv_from(&mut answer) {
                Ok(_) => return Some(answer[0]),
                Err(_) if start.elapsed() >= limit => return None,
                Err(_) => {}
            }
        }
    }
}

#[test]
fn flows_to_a_replaced_backend_go_and_all_others_stay() {
    for family in Family::ALL {
        let mut world = World::new();
        let servers = [1, 2, 3].map(|last| Server::new(family, last));
        let destinations =
            [SocketAddr::new(cluster_ip(family, 1), 53), SocketAddr::new(local(family, NODE), 30_001)];
        world.service(1, Some(&[1]));
        world.service(2, Some(&[1]));
        world.sync();
        let clients = destinations.map(|_| Client::new(family));
        for (client, destination) in clients.iter().zip(destinations) {
            assert_eq!(client.ask(destination, &servers), Some(1));
        }
        // The same client and port, through another Service, and without a Service.
        let bystander = Client::new(family);
        let elsewhere = SocketAddr::new(cluster_ip(family, 2), 53);
        assert_eq!(bystander.ask(elsewhere, &servers), Some(1));
        assert_eq!(bystander.ask((local(family, 3), 53).into(), &servers), Some(3));
        // The same port number as the node port, on an address that answers no node ports.
        let namesake = Server::at((local(family, 3), 30_001).into(), 33);
        let namesakes = [namesake];
        assert_eq!(bystander.ask((local(family, 3), 30_001).into(), &namesakes), Some(33));

        // One more endpoint: nothing to remove.
        world.service(1, Some(&[1, 2]));
        let before = entries();
        assert_eq!((world.clean(), entries()), (0, before));
        world.service(1, Some(&[2]));
        assert_eq!(world.clean(), 2, "both flows led to the endpoint that went");
        assert_eq!(entries(), before - 2, "and nothing else is removed");
        for (client, destination) in clients.iter().zip(destinations) {
            assert_eq!(client.ask(destination, &servers), Some(2), "{destination} recovers");
        }
        assert_eq!(bystander.ask(elsewhere, &servers), Some(1));
        assert_eq!(world.remove_all(elsewhere), 1, "the flow was there all the time");
        assert_eq!(world.remove_all((local(family, 3), 30_001).into()), 1);
    }
}

#[test]
fn without_endpoints_a_flow_is_refused_and_then_served_again() {
    for family in Family::ALL {
        let mut world = World::new();
        let servers = [1, 2].map(|last| Server::new(family, last));
        let destination = SocketAddr::new(cluster_ip(family, 1), 53);
        world.service(1, Some(&[1]));
        world.sync();
        let client = Client::new(family);
        assert_eq!(client.ask(destination, &servers), Some(1));
        world.service(1, Some(&[]));
        assert_eq!(world.clean(), 1);
        assert_eq!(client.ask_in_vain(destination, &servers), None);
        assert_eq!(world.remove_all(destination), 0, "what is refused leaves no flow");
        world.service(1, Some(&[2]));
        assert_eq!(world.clean(), 0);
        assert_eq!(client.ask(destination, &servers), Some(2));
    }
}

#[test]
fn untranslated_flows_go_when_a_service_comes_and_stay_when_it_goes() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, None);
        world.clean();
        let destination = SocketAddr::new(cluster_ip(family, 1), 53);
        let client = Client::new(family);
        // No rule handles the address yet; a host with this address answers.
        let own = [Server::at(destination, 42)];
        assert_eq!(client.ask(destination, &own), Some(42));
        let servers = [Server::new(family, 1)];
        world.service(1, Some(&[1]));
        assert_eq!(world.clean(), 1);
        assert_eq!(client.ask(destination, &servers), Some(1));

        let before = entries();
        world.service(1, None);
        assert_eq!(world.clean(), 1, "the translated flow goes with the Service");
        assert_eq!(entries(), before - 1);
        assert_eq!(client.ask(destination, &own), Some(42));
        assert_eq!(world.clean(), 0);
        let no_endpoint: Flows = [(destination, None)].into_iter().collect();
        assert_eq!(
            portolan_integration::remove_stale(&mut world.conntrack, &no_endpoint).unwrap(),
            0,
            "an untranslated flow is now right"
        );
    }
}

#[test]
fn looking_at_everything_removes_nothing_that_is_right() {
    let mut world = World::new();
    for number in 1..20 {
        world.service(number, Some(&[1, 2]));
    }
    world.sync();
    for family in Family::ALL {
        let servers = [1, 2].map(|last| Server::new(family, last));
        for number in 1..20 {
            let client = Client::new(family);
            assert!(client.ask((cluster_ip(family, number), 53).into(), &servers).is_some());
            assert!(client.ask((local(family, NODE), 30_000 + u16::from(number)).into(), &servers).is_some());
        }
    }
    let (before, all) = (entries(), destinations(&world.ruleset));
    assert_eq!((before, all.len()), (76, 76));
    // The same as at a restart.
    let flows = world.compiler.flows(all);
    assert_eq!(portolan_integration::remove_stale(&mut world.conntrack, &flows).unwrap(), 0);
    assert_eq!(entries(), before);
    // More destinations than are looked up one by one.
    for number in 1..20 {
        world.service(number, Some(&[]));
    }
    assert_eq!(world.clean(), 76);
    assert_eq!(entries(), 0);
}

#[test]
fn thousands_of_stale_flows_go_at_once() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, Some(&[1]));
        world.clean();
        let destination = SocketAddr::new(cluster_ip(family, 1), 53);
        for port in 10_000..15_000 {
            let socket = UdpSocket::bind((local(family, CLIENT), port)).expect("a port");
            socket.send_to(b"?", destination).expect("a route");
        }
        assert_eq!(entries(), 5_000);
        world.service(1, Some(&[2]));
        assert_eq!(world.clean(), 5_000);
        assert_eq!(entries(), 0);
    }
}

/// Makes packets to a ClusterIP count as translated before Portolan's rules see them.
fn lead_astray(destination: SocketAddr) {
    let (family, address) = (if destination.is_ipv4() { "ip" } else { "ip6" }, destination.ip());
    let table = format!(
        "table {family} astray {{\n\
         chain output {{ type nat hook output priority -110; {family} daddr {address} dnat to {address}; }}\n\
         }}\n"
    );
    run("nft", &["-f", "-"], &table);
}

#[test]
fn what_went_by_untranslated_while_a_class_changed_is_removed() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, Some(&[1]));
        world.clean();
        let destination = SocketAddr::new(cluster_ip(family, 1), 53);
        let (client, bystander) = (Client::new(family), Client::new(family));
        assert_eq!(bystander.ask(destination, &[Server::new(family, 1)]), Some(1));
        lead_astray(destination);
        assert_eq!(client.ask(destination, &[Server::at(destination, 42)]), Some(42));
        run("nft", &["delete", "table", if family == Family::Ip { "ip" } else { "ip6" }, "astray"], "");
        let before = entries();
        world.service(1, Some(&[1, 2]));
        assert_eq!(world.clean(), 1);
        assert_eq!(entries(), before - 1);
        assert!(client.ask(destination, &[1, 2].map(|last| Server::new(family, last))).is_some());
    }
}

/// Rules of another owner, which put all connections into a connection tracking zone.
const ZONES: &str = "\
table inet zones {
    chain output { type filter hook output priority raw; ct zone set 7; }
    chain prerouting { type filter hook prerouting priority raw; ct zone set 7; }
}
";

#[test]
fn an_untranslated_flow_in_a_zone_of_its_own_is_left_alone() {
    for family in Family::ALL {
        let mut world = World::new();
        run("nft", &["-f", "-"], ZONES);
        world.service(1, None);
        world.clean();
        let destination = SocketAddr::new(cluster_ip(family, 1), 53);
        let (untranslated, translated) = (Client::new(family), Client::new(family));
        assert_eq!(untranslated.ask(destination, &[Server::at(destination, 42)]), Some(42));
        world.service(1, Some(&[1]));
        assert_eq!(world.clean(), 0);
        assert_eq!(translated.ask(destination, &[Server::new(family, 1)]), Some(1));
        let before = entries();
        world.service(1, Some(&[2]));
        assert_eq!(world.clean(), 1, "a translated flow is stale in any zone");
        assert_eq!(entries(), before - 1);
    }
}

#[test]
fn connection_tracking_is_loaded_on_request() {
    let _world = World::new();
    conntrack::load().unwrap();
    assert!(std::fs::exists("/proc/sys/net/netfilter/nf_conntrack_max").unwrap());
}
