//! The addresses of the host's interfaces, and when they change.

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

/// Multicast groups of rtnetlink that tell of addresses (`RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`), as bits.
const ADDRESS_GROUPS: u32 = 1 << (5 - 1) | 1 << (9 - 1);

/// The addresses of all interfaces in this network namespace (`getifaddrs(3)`, which asks rtnetlink).
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let address = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    };
    Ok(getifaddrs()?.filter_map(|interface| interface.address.and_then(address)).collect())
}

/// Tells when an address of an interface in this network namespace comes or goes.
#[derive(Debug)]
pub struct AddressMonitor(OwnedFd);

impl AddressMonitor {
    /// Starts to listen: what changes from now on is told.
    pub fn new() -> io::Result<Self> {
        // No protocol is NETLINK_ROUTE, which is 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_GROUPS))?;
        Ok(Self(socket))
    }

    /// Waits for a change.
    pub fn wait(&self) -> io::Result<()> {
        // What exactly changed does not matter, nor whether all of it was told: the addresses are read anew.
        let mut ignored = [0; 8192];
        loop {
            match recv(&self.0, &mut ignored[..], RecvFlags::empty()) {
                Ok(_) | Err(Errno::NOBUFS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
