//! TCP and SCTP: flows to endpoints that are no longer in any slice.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::Arc,
};

use portolan::kernel::conntrack::Conntrack;
use portolan_rules::{
    incremental::flows::Destination,
    model::{Endpoint, EndpointPort, EndpointSlice, ObjectName, Protocol},
    ruleset::Family,
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt},
};

use crate::{CLIENT, NODE, World, cluster_ip, entries, local, run};

/// The source port of clients.
const PORT: u16 = 4000;

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::Ip => AddressFamily::INET,
        Family::Ip6 => AddressFamily::INET6,
    }
}

/// Sends an INIT from the client's only port. Connection tracking remembers it although there is no answer.
fn init(family: Family, to: SocketAddr) {
    // The header without a checksum, which is not verified here; an INIT of one stream.
    let mut packet = Vec::from(PORT.to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let raw =
        rustix::net::socket(address_family(family), SocketType::RAW, Some(ipproto::SCTP)).expect("root");
    rustix::net::bind(&raw, &SocketAddr::new(local(family, CLIENT), 0)).expect("an address");
    rustix::net::sendto(&raw, &packet, SendFlags::empty(), &SocketAddr::new(to.ip(), 0)).expect("a route");
}

/// Opens a TCP connection from the client's only port, without waiting for an answer.
fn ask(family: Family, to: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(address_family(family), SocketType::STREAM, flags, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
    rustix::net::bind(&socket, &SocketAddr::new(local(family, CLIENT), PORT)).expect("the port");
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => socket,
        Err(error) => panic!("{to}: {error}"),
    }
}

/// Makes endpoint 1 drop connection attempts, as if it were gone.
fn silence(family: Family) {
    let (name, address) = (if family == Family::Ip { "ip" } else { "ip6" }, local(family, 1));
    let table = format!(
        "table inet silence {{\n\
         chain input {{ type filter hook input priority 0; {name} daddr {address} tcp flags syn / syn,ack drop; }}\n\
         }}\n"
    );
    run("nft", &["-f", "-"], &table);
}

/// Sets the endpoints of Service 1, with whether each is ready, for every protocol.
fn set_endpoints(world: &mut World, endpoints: &[(u8, bool)]) {
    let name = ObjectName::new("default", "dns-1");
    let endpoint = |(last, ready): &(u8, bool)| {
        Family::ALL.map(|family| Endpoint {
            ready: *ready,
            serving: *ready,
            terminating: !ready,
            ..Endpoint::ready(local(family, *last))
        })
    };
    let slice = EndpointSlice {
        name: name.clone(),
        service: name.name.clone(),
        ports: Protocol::ALL
            .map(|protocol| EndpointPort { name: protocol.name().into(), protocol, port: 53 })
            .into(),
        endpoints: endpoints.iter().flat_map(endpoint).collect(),
    };
    world.state.set_slice(&name, Some(Arc::new(slice)));
}

/// Returns the frontends of Service 1.
fn frontends(family: Family) -> [SocketAddr; 2] {
    [(cluster_ip(family, 1), 53).into(), (local(family, NODE), 30_001).into()]
}

#[test]
fn sctp_flows_go_with_their_endpoint_and_not_while_it_drains() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, Some(&[1]));
        world.service(2, Some(&[1]));
        world.clean();
        for frontend in frontends(family) {
            init(family, frontend);
        }
        init(family, (cluster_ip(family, 2), 53).into());
        init(family, (local(family, 1), 53).into());
        let before = entries();
        assert_eq!(before, 4);
        set_endpoints(&mut world, &[(1, false), (2, true)]);
        assert_eq!(world.clean(), 0, "it drains");
        set_endpoints(&mut world, &[(2, true)]);
        assert_eq!(world.clean(), 2);
        assert_eq!(entries(), before - 2, "and nothing else is removed");
        for frontend in frontends(family) {
            init(family, frontend);
        }
        let answers = |protocol, frontend| {
            let survey = Conntrack::open().and_then(|mut conntrack| conntrack.survey(protocol)).unwrap();
            let of_frontend =
                survey.into_iter().filter(|(to, _)| *to == Destination::new(protocol, frontend));
            of_frontend.map(|(_, source)| source.ip()).collect::<Vec<_>>()
        };
        for frontend in frontends(family) {
            assert_eq!(answers(Protocol::Sctp, frontend), [local(family, 2)]);
        }
        world.service(1, None);
        assert_eq!(world.clean(), 2, "all flows go with the Service");
        assert_eq!(entries(), before - 2);
    }
}

#[test]
fn tcp_connections_that_were_never_answered_go_with_their_endpoint() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, Some(&[1]));
        world.clean();
        let [frontend, node_port] = frontends(family);
        let listener = TcpListener::bind((local(family, 1), 53)).expect("a listener");
        let mut client = TcpStream::connect(frontend).expect("the endpoint");
        let (mut server, _) = listener.accept().expect("the client");
        silence(family);
        for to in [frontend, node_port] {
            drop(ask(family, to));
        }
        // A connection that does not lead to a Service.
        drop(ask(family, (local(family, 1), 53).into()));
        let before = entries();
        assert_eq!(before, 4);
        set_endpoints(&mut world, &[(1, false), (2, true)]);
        assert_eq!(world.clean(), 0, "it drains");
        set_endpoints(&mut world, &[(2, true)]);
        assert_eq!(world.clean(), 2);
        assert_eq!(entries(), before - 2, "and nothing else is removed");

        // A new connection from the same port is served at once.
        let other = TcpListener::bind((local(family, 2), 53)).expect("a listener");
        let _again = ask(family, frontend);
        other.accept().expect("the client");
        // An answered connection continues, whatever happens to the endpoint.
        for endpoints in [Some(&[2][..]), Some(&[]), None] {
            world.service(1, endpoints);
            assert_eq!(world.clean(), 0);
        }
        client.write_all(b"still there?").unwrap();
        let mut heard = [0; 12];
        server.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still there?");
    }
}

#[test]
fn what_is_not_stale_any_more_is_not_removed() {
    for family in Family::ALL {
        let mut world = World::new();
        world.service(1, Some(&[1]));
        world.clean();
        for frontend in frontends(family) {
            init(family, frontend);
        }
        set_endpoints(&mut world, &[]);
        let stale = world.sync().gone();
        let [cluster_ip, _] = frontends(family);
        let mut removed = 0;
        let still = |to: Destination, _| to.at != cluster_ip;
        world.conntrack.remove_stale(family, &stale, &still, &mut removed).unwrap();
        assert_eq!((removed, entries()), (1, 1));
    }
}

#[test]
fn many_destinations_are_looked_at_together() {
    for family in Family::ALL {
        let mut world = World::new();
        for number in 1..20 {
            world.service(number, Some(&[1]));
        }
        world.clean();
        silence(family);
        for number in 1..20 {
            init(family, (cluster_ip(family, number), 53).into());
            drop(ask(family, (cluster_ip(family, number), 53).into()));
        }
        assert_eq!(entries(), 38);
        for number in 1..20 {
            world.service(number, Some(&[2]));
        }
        assert_eq!(world.clean(), 38);
        assert_eq!(entries(), 0);
    }
}
