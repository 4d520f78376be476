//! The addresses of the host's interfaces, and changes of these addresses.

use std::{io, net::IpAddr};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use tracing::error;

use super::event::{Inbox, SourceEvent};

/// Multicast groups of rtnetlink for addresses (`RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`), as bits.
const ADDRESS_GROUPS: u32 = 1 << (5 - 1) | 1 << (9 - 1);

/// The addresses of all interfaces in this network namespace (`getifaddrs(3)`, which asks rtnetlink).
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let address = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    };
    Ok(getifaddrs()?.filter_map(|interface| interface.address.and_then(address)).collect())
}

/// Reports changes of this host's addresses from now on, on a separate thread.
///
/// # Errors
/// The socket cannot be opened, or the thread cannot be started.
pub fn watch(inbox: impl Inbox) -> io::Result<()> {
    // `None` selects the protocol NETLINK_ROUTE, which is 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_GROUPS))?;
    let watching = move || {
        loop {
            if let Err(error) = wait(&socket) {
                error!(%error, "The addresses of this host cannot be watched; changes are no longer noticed");
                return;
            }
            if inbox.report(SourceEvent::Addresses).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("addresses".into()).spawn(watching).map(drop)
}

/// Waits for a change that this socket is notified of.
fn wait(socket: &OwnedFd) -> io::Result<()> {
    // The content does not matter, nor whether messages were lost: the addresses are read again.
    let mut ignored = [0; 8192];
    loop {
        match recv(socket, &mut ignored[..], RecvFlags::empty()) {
            Ok(_) | Err(Errno::NOBUFS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
