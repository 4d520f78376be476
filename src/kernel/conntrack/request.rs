//! Writes requests to ctnetlink.

use std::net::{IpAddr, Ipv4Addr};

use portolan_rules::{incremental::flows::Destination, model::Protocol};

use crate::kernel::nftables::{
    attributes::Attributes,
    uapi::{NLA_F_NESTED, NLM_F_REQUEST},
    wire::{attribute, begin_message, begin_nest, end_message, end_nest},
};

use super::uapi::*;

/// Which entries a dump is to hold. The kernel may return more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    /// Flows of a protocol to this port, at this address if there is one.
    Destination(Protocol, Option<Ipv4Addr>, u16),
    /// Flows of a protocol.
    Of(Protocol),
    /// All.
    Nothing,
}

impl Filter {
    /// The filter for flows to a destination. Not by an IPv6 address: kernels since 5.8 return all flows but
    /// those to the address then (`ctnetlink_filter_match_tuple` of Linux 6.18 takes a comparison's zero for
    /// "differs").
    pub(super) fn to(destination: Destination) -> Self {
        let address = match destination.at.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        Self::Destination(destination.protocol, address, destination.at.port())
    }

    /// Appends the attributes that ask for it (`CTA_FILTER`, since Linux 5.8, and `CTA_STATUS_MASK`, since 5.15; those
    /// before ignore them). Of TCP connections, unless `with_answered`, only those are asked for of which no answer was seen.
    pub(super) fn write(self, request: &mut Vec<u8>, with_answered: bool) {
        let (protocol, address, port) = match self {
            Self::Nothing => return,
            Self::Of(protocol) => (protocol, None, None),
            Self::Destination(protocol, address, port) => (protocol, address, Some(port)),
        };
        let mut flags = CTA_FILTER_F_CTA_PROTO_NUM;
        let tuple = begin_nest(request, CTA_TUPLE_ORIG);
        if let Some(address) = address {
            flags |= CTA_FILTER_F_CTA_IP_DST;
            let ip = begin_nest(request, CTA_TUPLE_IP);
            attribute(request, CTA_IP_V4_DST, &address.octets());
            end_nest(request, ip);
        }
        let nest = begin_nest(request, CTA_TUPLE_PROTO);
        attribute(request, CTA_PROTO_NUM, &[protocol.number()]);
        if let Some(port) = port {
            flags |= CTA_FILTER_F_CTA_PROTO_DST_PORT;
            attribute(request, CTA_PROTO_DST_PORT, &port.to_be_bytes());
        }
        end_nest(request, nest);
        end_nest(request, tuple);
        if protocol == Protocol::Tcp && !with_answered {
            attribute(request, CTA_STATUS, &0_u32.to_be_bytes());
            attribute(request, CTA_STATUS_MASK, &IPS_SEEN_REPLY.to_be_bytes());
        }
        let filter = begin_nest(request, CTA_FILTER);
        // Unlike most numbers here, flags are in host order.
        attribute(request, CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes());
        end_nest(request, filter);
    }
}

/// A message that deletes the entry with these attributes, if it is still the same: the kernel looks
/// it up by its original tuple and its zone, and compares the id, which it computes from all of the entry.
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
