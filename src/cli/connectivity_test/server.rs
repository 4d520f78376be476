//! The server of the test: it answers with its name, and connects to other servers when the test asks for it.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use portolan_rules::model::Protocol;
use rustix::system::uname;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use super::probe::{GREETING, LONGEST, connect};
use crate::{cli::output::Ended, observe::server::listen::bind_any};

/// Most connections at a time; further connections are closed.
const CONNECTIONS: usize = 64;
/// How long a request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT.
pub fn serve(port: u16) -> Ended {
    start(port).map_err(|error| format!("connectivity-test: port {port}: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn start(port: u16) -> io::Result<()> {
    let name = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let host = || uname().nodename().to_string_lossy().into_owned();
    let name: Arc<str> = name.unwrap_or_else(host).into();
    let (any, own) = ((Ipv4Addr::UNSPECIFIED, port).into(), Arc::clone(&name));
    let socket = bind_any(any, |at, _| UdpSocket::bind(at))?;
    thread::Builder::new().spawn(move || answer_datagrams(&socket, &own))?;
    let (listener, own) = (bind_any(any, |at, _| TcpListener::bind(at))?, Arc::clone(&name));
    thread::Builder::new().spawn(move || accept(&listener, &own))?;
    eprintln!("portolan: connectivity-test: {name} answers on port {port}");
    // The first process of a container ignores signals that it does not handle.
    Signals::new([SIGTERM, SIGINT])?.forever().next();
    Ok(())
}

fn answer_datagrams(socket: &UdpSocket, name: &str) {
    let mut request = [0; LONGEST as usize];
    loop {
        // An error concerns a single datagram: it is an ICMP error about an earlier answer.
        if let Ok((_, from)) = socket.recv_from(&mut request) {
            let _ = socket.send_to(format!("{GREETING}{name}\n").as_bytes(), from);
        }
    }
}

fn accept(listener: &TcpListener, name: &Arc<str>) {
    // Each connection holds a reference.
    let open = Arc::new(());
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // No file descriptors are left.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        if Arc::strong_count(&open) > CONNECTIONS {
            continue;
        }
        let (name, held) = (Arc::clone(name), Arc::clone(&open));
        // Without a thread, the connection is closed.
        let _ = thread::Builder::new().spawn(move || {
            // Errors concern the peer alone.
            let _ = answer(stream, &name);
            drop(held);
        });
    }
}

fn answer(mut stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = String::new();
    BufReader::new((&stream).take(LONGEST)).read_line(&mut request)?;
    let words: Vec<&str> = request.split_whitespace().collect();
    let answer = match words.as_slice() {
        ["connect", protocol, to] => match (Protocol::from_name(protocol), to.parse()) {
            (Some(protocol @ (Protocol::Tcp | Protocol::Udp)), Ok(to)) => match connect(protocol, to) {
                Ok(server) => format!("answered {server}"),
                Err(problem) => format!("failed {problem}"),
            },
            _ => "failed invalid request".to_owned(),
        },
        _ => name.to_owned(),
    };
    stream.write_all(format!("{GREETING}{answer}\n").as_bytes())
}
