//! Writes requests to ctnetlink.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::kernel::{
    attributes::Attributes,
    uapi::NLM_F_REQUEST,
    wire::{attribute, begin_message, begin_nest, end_message, end_nest},
};

use super::uapi::{
    CTA_FILTER, CTA_FILTER_F_CTA_IP_DST, CTA_FILTER_F_CTA_PROTO_DST_PORT, CTA_FILTER_F_CTA_PROTO_NUM,
    CTA_FILTER_ORIG_FLAGS, CTA_ID, CTA_IP_V4_DST, CTA_PROTO_DST_PORT, CTA_PROTO_NUM, CTA_TUPLE_IP,
    CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_ZONE, DELETE, IPPROTO_UDP,
};

/// Which entries a dump is to hold. The kernel may return more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    /// UDP flows to this port, at this address if there is one.
    Destination(Option<Ipv4Addr>, u16),
    /// UDP flows.
    Udp,
    /// All.
    Nothing,
}

impl Filter {
    /// The filter for flows to a destination. Not by an IPv6 address: kernels since 5.8 return all flows but
    /// those to the address then (`ctnetlink_filter_match_tuple` of Linux 6.18 takes a comparison's zero for
    /// "differs").
    pub(super) fn to(destination: SocketAddr) -> Self {
        let address = match destination.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        Self::Destination(address, destination.port())
    }

    /// Appends the attributes that ask for it (`CTA_FILTER`, since Linux 5.8; those before ignore it).
    pub(super) fn write(self, request: &mut Vec<u8>) {
        let (address, port) = match self {
            Self::Nothing => return,
            Self::Udp => (None, None),
            Self::Destination(address, port) => (address, Some(port)),
        };
        let mut flags = CTA_FILTER_F_CTA_PROTO_NUM;
        let tuple = begin_nest(request, CTA_TUPLE_ORIG);
        if let Some(address) = address {
            flags |= CTA_FILTER_F_CTA_IP_DST;
            let ip = begin_nest(request, CTA_TUPLE_IP);
            attribute(request, CTA_IP_V4_DST, &address.octets());
            end_nest(request, ip);
        }
        let protocol = begin_nest(request, CTA_TUPLE_PROTO);
        attribute(request, CTA_PROTO_NUM, &[IPPROTO_UDP]);
        if let Some(port) = port {
            flags |= CTA_FILTER_F_CTA_PROTO_DST_PORT;
            attribute(request, CTA_PROTO_DST_PORT, &port.to_be_bytes());
        }
        end_nest(request, protocol);
        end_nest(request, tuple);
        let filter = begin_nest(request, CTA_FILTER);
        // Unlike most numbers here, flags are in host order.
        attribute(request, CTA_FILTER_ORIG_FLAGS, &flags.to_ne_bytes());
        end_nest(request, filter);
    }
}

/// Appends a message that deletes the entry with these attributes, if it is still the same: the kernel looks
/// it up by its original tuple and its zone, and compares the id, which it computes from all of the entry.
pub(super) fn delete(buffer: &mut Vec<u8>, family: u8, entry: Attributes<'_>) {
    let start = begin_message(buffer, DELETE, NLM_F_REQUEST, 0, family, 0);
    for kind in [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID] {
        let Some(found) = entry.find(kind) else { continue };
        if kind == CTA_TUPLE_ORIG {
            let nest = begin_nest(buffer, kind);
            buffer.extend_from_slice(found.value);
            end_nest(buffer, nest);
        } else {
            attribute(buffer, kind, found.value);
        }
    }
    end_message(buffer, start);
}
