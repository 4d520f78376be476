//! Reads entries of the connection tracking table.

use std::net::{IpAddr, SocketAddr};

use portolan_rules::{incremental::flows::Destination, model::Protocol};

use crate::kernel::nftables::attributes::{Attribute, Attributes};

use super::uapi::*;

/// The two ends of a flow that decide whether it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where the client sends packets to (destination of the original direction).
    pub destination: Destination,
    /// Where replies come from (source of the reply direction).
    pub source: SocketAddr,
}

impl Entry {
    /// Reads an entry that may be stale. `None` if its protocol is not one of Services; if it is a TCP connection that
    /// was, or may have been, answered; or if it is in a zone and not translated: such zones track flows before or
    /// after the translation, and always see the destination untranslated.
    pub(super) fn read(attributes: Attributes<'_>) -> Option<Self> {
        let (original, reply) = (attributes.nested(CTA_TUPLE_ORIG), attributes.nested(CTA_TUPLE_REPLY));
        let (protocol, destination) = end(original, [CTA_IP_V4_DST, CTA_IP_V6_DST], CTA_PROTO_DST_PORT)?;
        if protocol == Protocol::Tcp && !is_unanswered(attributes) {
            return None;
        }
        let entry = Self {
            destination: Destination::new(protocol, destination),
            source: end(reply, [CTA_IP_V4_SRC, CTA_IP_V6_SRC], CTA_PROTO_SRC_PORT)?.1,
        };
        let is_zoned = attributes.find(CTA_ZONE).is_some() || original.find(CTA_TUPLE_ZONE).is_some();
        Some(entry).filter(|entry| !is_zoned || entry.source != entry.destination.at)
    }
}

/// Whether a TCP connection was requested but not answered.
fn is_unanswered(attributes: Attributes<'_>) -> bool {
    let seen_reply = attributes.number(CTA_STATUS).is_none_or(|status| status & IPS_SEEN_REPLY != 0);
    !seen_reply && tcp_state(attributes) == Some(TCP_CONNTRACK_SYN_SENT)
}

/// The state of a TCP connection, as the kernel numbers it.
pub(super) fn tcp_state(attributes: Attributes<'_>) -> Option<u8> {
    let info = attributes.nested(CTA_PROTOINFO).nested(CTA_PROTOINFO_TCP);
    info.find(CTA_PROTOINFO_TCP_STATE)?.value.first().copied()
}

/// The protocol of a tuple, and the end with these attributes.
pub(super) fn end(tuple: Attributes<'_>, addresses: [u16; 2], port: u16) -> Option<(Protocol, SocketAddr)> {
    let ports = tuple.find(CTA_TUPLE_PROTO)?.nested();
    let [number] = *ports.find(CTA_PROTO_NUM)?.value else { return None };
    let protocol = Protocol::from_number(number)?;
    let port = u16::from_be_bytes(ports.find(port)?.value.try_into().ok()?);
    let ip = tuple.find(CTA_TUPLE_IP)?.nested();
    let address = addresses.into_iter().find_map(|kind| ip.find(kind))?;
    Some((protocol, SocketAddr::new(ip_address(address)?, port)))
}

fn ip_address(attribute: Attribute<'_>) -> Option<IpAddr> {
    match attribute.value.len() {
        4 => Some(<[u8; 4]>::try_from(attribute.value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(attribute.value).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::kernel::nftables::wire::{attribute, begin_nest, end_nest};

    fn tuple(out: &mut Vec<u8>, kind: u16, [source, destination]: [&str; 2], protocol: u8) {
        let (source, destination): (SocketAddr, SocketAddr) =
            (source.parse().unwrap(), destination.parse().unwrap());
        let nest = begin_nest(out, kind);
        let ip = begin_nest(out, CTA_TUPLE_IP);
        for (address, kinds) in
            [(source, [CTA_IP_V4_SRC, CTA_IP_V6_SRC]), (destination, [CTA_IP_V4_DST, CTA_IP_V6_DST])]
        {
            match address.ip() {
                IpAddr::V4(address) => attribute(out, kinds[0], &address.octets()),
                IpAddr::V6(address) => attribute(out, kinds[1], &address.octets()),
            }
        }
        end_nest(out, ip);
        let ports = begin_nest(out, CTA_TUPLE_PROTO);
        attribute(out, CTA_PROTO_NUM, &[protocol]);
        attribute(out, CTA_PROTO_SRC_PORT, &source.port().to_be_bytes());
        attribute(out, CTA_PROTO_DST_PORT, &destination.port().to_be_bytes());
        end_nest(out, ports);
        end_nest(out, nest);
    }

    fn entry(original: [&str; 2], reply: [&str; 2], protocol: u8) -> Vec<u8> {
        let mut out = Vec::new();
        tuple(&mut out, CTA_TUPLE_ORIG, original, protocol);
        tuple(&mut out, CTA_TUPLE_REPLY, reply, protocol);
        out
    }

    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const SCTP: u8 = 132;

    #[test]
    fn an_entry_says_where_its_flow_goes_and_which_endpoint_answers() {
        for (protocol, number) in [(Protocol::Udp, UDP), (Protocol::Sctp, SCTP)] {
            let v4 = entry(["10.0.0.9:4000", "10.96.0.1:53"], ["10.0.0.1:5353", "10.0.0.9:4000"], number);
            let entry = |bytes: &[u8]| Entry::read(Attributes(bytes));
            let expected = Entry {
                destination: Destination::new(protocol, "10.96.0.1:53".parse().unwrap()),
                source: "10.0.0.1:5353".parse().unwrap(),
            };
            assert_eq!(entry(&v4), Some(expected));
            let mut zoned = v4;
            attribute(&mut zoned, CTA_ZONE, &7_u16.to_be_bytes());
            assert_eq!(entry(&zoned), Some(expected));
        }
    }

    #[test]
    fn a_tcp_connection_counts_if_it_was_never_answered() {
        let connection = |status: Option<u32>, state: Option<u8>| {
            let mut bytes =
                entry(["[fd00::9]:4000", "[fd96::1]:53"], ["[fd00::1]:53", "[fd00::9]:4000"], TCP);
            if let Some(status) = status {
                attribute(&mut bytes, CTA_STATUS, &status.to_be_bytes());
            }
            if let Some(state) = state {
                let info = begin_nest(&mut bytes, CTA_PROTOINFO);
                let tcp = begin_nest(&mut bytes, CTA_PROTOINFO_TCP);
                attribute(&mut bytes, CTA_PROTOINFO_TCP_STATE, &[state]);
                end_nest(&mut bytes, tcp);
                end_nest(&mut bytes, info);
            }
            Entry::read(Attributes(&bytes)).is_some()
        };
        let others = !IPS_SEEN_REPLY;
        assert!(connection(Some(others), Some(TCP_CONNTRACK_SYN_SENT)));
        assert!(!connection(Some(IPS_SEEN_REPLY), Some(TCP_CONNTRACK_SYN_SENT)));
        assert!(!connection(Some(others), Some(3)), "established, though only one side was seen");
        assert!(!connection(None, Some(TCP_CONNTRACK_SYN_SENT)));
        assert!(!connection(Some(others), None));
    }

    #[test]
    fn other_protocols_are_not_read() {
        for protocol in [1, 47, 58] {
            let bytes =
                entry(["[fd00::9]:4000", "[fd96::1]:53"], ["[fd00::1]:53", "[fd00::9]:4000"], protocol);
            assert_eq!(Entry::read(Attributes(&bytes)), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(
            noise in vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            length in 0usize..160,
        ) {
            let _ = Entry::read(Attributes(&noise));
            let mut bytes = entry(["10.0.0.9:1", "10.96.0.1:53"], ["10.0.0.1:53", "10.0.0.9:1"], UDP);
            bytes.truncate(length);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = noise.first().copied().unwrap_or(0);
            }
            let _ = Entry::read(Attributes(&bytes));
        }
    }
}
