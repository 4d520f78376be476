//! IP addresses and CIDRs as the API accepts them.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use super::field::{Parse, quote};

/// Parses an IP address as Go's older parser did, which the API server and kube-proxy still use for
/// stored objects: leading zeros of IPv4 octets are decimal and dropped, an IPv4-mapped IPv6 address
/// is the IPv4 address. Returns `None` for anything else, such as an address with a zone.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    parse_ip_unmapped(text).map(|ip| ip.to_canonical())
}

/// As [`parse_ip`], but an IPv4-mapped IPv6 address stays IPv6, as it does in a CIDR.
fn parse_ip_unmapped(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| without_leading_zeros(text)?.parse().ok())
}

/// Rewrites the dotted part (`010.0.0.01`, or the end of `::ffff:010.0.0.01`) without leading zeros.
fn without_leading_zeros(text: &str) -> Option<String> {
    let (prefix, dotted) = match text.rfind(':') {
        Some(colon) => text.split_at(colon + 1),
        None => ("", text),
    };
    let octets: Option<Vec<u8>> = dotted.split('.').map(decimal).collect();
    let octets: [u8; 4] = octets?.try_into().ok()?;
    Some(format!("{prefix}{}", Ipv4Addr::from(octets)))
}

/// A decimal number with any number of leading zeros, but no sign.
fn decimal(text: &str) -> Option<u8> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = text.trim_start_matches('0');
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

/// Parses a CIDR with the leniency of [`parse_ip`]; host bits are masked off.
pub fn parse_cidr(text: &str) -> Option<IpNetwork> {
    let (address, prefix) = text.split_once('/')?;
    let network = IpNetwork::new(parse_ip_unmapped(address)?, decimal(prefix)?).ok()?;
    IpNetwork::new(network.network(), network.prefix()).ok()
}

/// The kind of an address that the API does not accept as an endpoint or external IP; `None` for other addresses. Such
/// an address would redirect traffic to or from the node's own services (CVE-2020-8554, CVE-2020-8558).
pub fn special(address: IpAddr) -> Option<&'static str> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if link_local {
        Some("a link-local address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else {
        None
    }
}

/// The address, if the API accepts it for an endpoint or a Service.
///
/// # Errors
/// The reason why the API does not accept the address.
pub(super) fn usable(ip: IpAddr) -> Result<IpAddr, String> {
    special(ip).map_or(Ok(ip), |what| Err(format!("{ip} is {what}")))
}

/// Parses an address that the API accepts for an endpoint or a Service.
///
/// # Errors
/// The text is not an address, or the API does not accept the address.
pub(super) fn parse_usable(text: &str) -> Result<IpAddr, String> {
    usable(parse_ip(text).ok_or_else(|| not_an_address(text))?)
}

/// The message that a text is not an address.
pub(super) fn not_an_address(text: &str) -> String {
    format!("{} is not an IP address", quote(text))
}

/// "IPv4" or "IPv6", as `ipFamilies` and `addressType` spell them.
pub const fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// An address, or a text that is not a valid address. Parsed while reading, so that lists of endpoints keep no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Ip(IpAddr),
    /// Something else.
    Other(Box<str>),
}

impl Parse<'_> for Address {
    const EXPECTED: &'static str = "an IP address";

    fn from_text(text: &str) -> Option<Self> {
        Some(parse_ip(text).map_or_else(|| Self::Other(text.into()), Self::Ip))
    }
}

impl Address {
    /// The address.
    ///
    /// # Errors
    /// The text is not a valid address.
    pub fn ip(&self) -> Result<IpAddr, String> {
        match self {
            Self::Ip(ip) => Ok(*ip),
            Self::Other(text) => Err(not_an_address(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_are_decimal() {
        for (text, expected) in [
            ("172.30.0.041", Some("172.30.0.41")),
            ("010.000.000.001", Some("10.0.0.1")),
            ("10.0.0.0000255", Some("10.0.0.255")),
            ("::ffff:010.0.0.1", Some("10.0.0.1")),
            ("fd00::010.0.0.1", Some("fd00::a00:1")),
            ("FD00:0:0::1", Some("fd00::1")),
            ("10.0.0.256", None),
            ("10.0.0", None),
            ("10.0.0.1.1", None),
            ("10.0.0.+1", None),
            ("10.0.0.", None),
            ("fe80::1%eth0", None),
            (" 10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(parse_ip(text).map(|ip| ip.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn cidrs_are_masked() {
        for (text, expected) in [
            ("192.168.1.7/24", Some("192.168.1.0/24")),
            ("010.0.0.0/08", Some("10.0.0.0/8")),
            ("fd00::7/64", Some("fd00::/64")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.0/33", None),
            ("10.0.0.0/-1", None),
            ("10.0.0.0", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/8/8", None),
            ("/8", None),
        ] {
            assert_eq!(parse_cidr(text).map(|net| net.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn special_addresses_are_named() {
        for (text, is_special) in [
            ("0.0.0.0", true),
            ("127.0.0.1", true),
            ("169.254.0.1", true),
            ("224.0.0.1", true),
            ("::", true),
            ("::1", true),
            ("fe80::1", true),
            ("ff02::1", true),
            ("10.0.0.1", false),
            ("fd00::1", false),
        ] {
            assert_eq!(parse_ip(text).and_then(special).is_some(), is_special, "{text}");
        }
    }
}
