//! What the host says of itself: its name and the addresses of its interfaces.

use std::{io, net::IpAddr};

use nix::{ifaddrs::getifaddrs, sys::socket::SockaddrStorage, unistd::gethostname};

/// The host's name (`gethostname(2)`).
pub fn name() -> io::Result<String> {
    let name = gethostname()?;
    name.into_string().map_err(|name| io::Error::other(format!("{} is not text", name.display())))
}

/// The addresses of all interfaces in this network namespace (`getifaddrs(3)`, which asks rtnetlink).
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let address = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
    };
    Ok(getifaddrs()?.filter_map(|interface| interface.address.and_then(address)).collect())
}
