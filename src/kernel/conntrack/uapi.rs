//! Numbers of ctnetlink, as `linux/netfilter/nfnetlink.h` and `linux/netfilter/nfnetlink_conntrack.h` define
//! them.

use crate::kernel::nftables::uapi::{NFNL_SUBSYS_CTNETLINK, c_int};

/// The family that stands for all of them.
pub(super) const EVERY_FAMILY: u8 = 0;

/// Type of the message that asks for entries.
pub(super) const CT_GET: c_int = NFNL_SUBSYS_CTNETLINK << 8 | 1;
/// Type of the message that deletes one.
pub(super) const CT_DELETE: c_int = NFNL_SUBSYS_CTNETLINK << 8 | 2;
/// Type of the message that asks how many there are.
pub(super) const CT_GET_STATS: c_int = NFNL_SUBSYS_CTNETLINK << 8 | 5;

pub(super) const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
pub(super) const CTA_STATUS: u16 = 3;
pub(super) const CTA_PROTOINFO: u16 = 4;
pub(super) const CTA_TIMEOUT: u16 = 7;
pub(super) const CTA_COUNTERS_ORIG: u16 = 9;
pub(super) const CTA_COUNTERS_REPLY: u16 = 10;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_ZONE: u16 = 18;
pub(super) const CTA_TIMESTAMP: u16 = 20;
pub(super) const CTA_FILTER: u16 = 25;
pub(super) const CTA_STATUS_MASK: u16 = 26;

/// The bit of `CTA_STATUS` that says that an answer was seen.
pub(super) const IPS_SEEN_REPLY: u32 = 1 << 1;

/// The bit that says that the flow has been in use for a while.
pub(super) const IPS_ASSURED: u32 = 1 << 2;

pub(super) const CTA_COUNTERS_BYTES: u16 = 2;
pub(super) const CTA_TIMESTAMP_START: u16 = 1;

pub(super) const CTA_PROTOINFO_TCP: u16 = 1;
pub(super) const CTA_PROTOINFO_TCP_STATE: u16 = 1;
/// The state of a TCP connection that was asked for.
pub(super) const TCP_CONNTRACK_SYN_SENT: u8 = 1;

pub(super) const CTA_TUPLE_IP: u16 = 1;
pub(super) const CTA_TUPLE_PROTO: u16 = 2;
pub(super) const CTA_TUPLE_ZONE: u16 = 3;

pub(super) const CTA_IP_V4_SRC: u16 = 1;
pub(super) const CTA_IP_V4_DST: u16 = 2;
pub(super) const CTA_IP_V6_SRC: u16 = 3;
pub(super) const CTA_IP_V6_DST: u16 = 4;

pub(super) const CTA_PROTO_NUM: u16 = 1;
pub(super) const CTA_PROTO_SRC_PORT: u16 = 2;
pub(super) const CTA_PROTO_DST_PORT: u16 = 3;

pub(super) const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// Bits of `CTA_FILTER_ORIG_FLAGS`, which part of `CTA_TUPLE_ORIG` counts (`net/netfilter/nf_internals.h`).
pub(super) const CTA_FILTER_F_CTA_IP_DST: u32 = 1 << 1;
pub(super) const CTA_FILTER_F_CTA_PROTO_NUM: u32 = 1 << 3;
pub(super) const CTA_FILTER_F_CTA_PROTO_DST_PORT: u32 = 1 << 5;
