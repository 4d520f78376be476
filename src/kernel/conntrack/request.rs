//! Writes requests to ctnetlink.

use std::net::{IpAddr, Ipv4Addr};

use portolan_rules::{incremental::flows::Destination, model::Protocol};

use crate::kernel::nftables::{
    attributes::Attributes,
    uapi::{NLA_F_NESTED, NLM_F_REQUEST},
    wire::{attribute, begin_message, end_message, nest},
};

use super::uapi::*;

/// The entries that a dump returns: all, or those of a protocol, optionally to a port, optionally at an address. The
/// kernel may return more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Filter {
    pub protocol: Option<Protocol>,
    pub address: Option<Ipv4Addr>,
    pub port: Option<u16>,
}

impl Filter {
    /// The filter for flows to a destination. IPv6 addresses are left out: since 5.8, kernels return all flows except
    /// those to the address (`ctnetlink_filter_match_tuple` of Linux 6.18 takes a comparison's zero for "differs").
    pub(super) fn to(destination: Destination) -> Self {
        let address = match destination.at.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        Self { address, port: Some(destination.at.port()), ..Self::of(destination.protocol) }
    }

    /// The filter for flows of a protocol.
    pub(super) fn of(protocol: Protocol) -> Self {
        Self { protocol: Some(protocol), ..Self::default() }
    }

    /// Appends the filter's attributes (`CTA_FILTER`, since Linux 5.8, and `CTA_STATUS_MASK`, since 5.15; older kernels
    /// ignore them). Unless `with_answered` is set, only TCP connections without a reply are requested.
    pub(super) fn write(self, request: &mut Vec<u8>, with_answered: bool) {
        let Some(protocol) = self.protocol else { return };
        let mut flags = CTA_FILTER_F_CTA_PROTO_NUM;
        nest(request, CTA_TUPLE_ORIG, |tuple| {
            if let Some(address) = self.address {
                flags |= CTA_FILTER_F_CTA_IP_DST;
                nest(tuple, CTA_TUPLE_IP, |ip| attribute(ip, CTA_IP_V4_DST, &address.octets()));
            }
            nest(tuple, CTA_TUPLE_PROTO, |ports| {
                attribute(ports, CTA_PROTO_NUM, &[protocol.number()]);
                if let Some(port) = self.port {
                    flags |= CTA_FILTER_F_CTA_PROTO_DST_PORT;
                    attribute(ports, CTA_PROTO_DST_PORT, &port.to_be_bytes());
                }
            });
        });
        if protocol == Protocol::Tcp && !with_answered {
            attribute(request, CTA_STATUS, &0_u32.to_be_bytes());
            attribute(request, CTA_STATUS_MASK, &IPS_SEEN_REPLY.to_be_bytes());
        }
        // Unlike most numbers of ctnetlink, these flags are in host order.
        nest(request, CTA_FILTER, |filter| attribute(filter, CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes()));
    }
}

/// Returns a message that deletes the entry with these attributes, if it is still the same: the kernel looks it up by
/// its original tuple and its zone, and compares the id, which it computes from the whole entry.
pub(super) fn delete(family: u8, entry: Attributes<'_>) -> Vec<u8> {
    let mut buffer = Vec::new();
    let start = begin_message(&mut buffer, CT_DELETE, NLM_F_REQUEST, 0, family, 0);
    for (kind, flag) in [(CTA_TUPLE_ORIG, NLA_F_NESTED), (CTA_ZONE, 0), (CTA_ID, 0)] {
        if let Some(found) = entry.find(kind) {
            attribute(&mut buffer, kind | flag, found.value);
        }
    }
    end_message(&mut buffer, start);
    buffer
}
