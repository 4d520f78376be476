//! Constants of `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and `linux/netfilter/nf_tables.h`: those of the libc
//! crate, and those that it lacks, most of which are numbers of attributes.

pub(crate) use nftnl::nftnl_sys::libc::{
    IFNAMSIZ, NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_DROP_MEMBERSHIP, NETLINK_EXT_ACK, NF_ACCEPT,
    NF_DROP, NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_CTNETLINK, NFNL_SUBSYS_NFTABLES,
    NFNLGRP_NFTABLES, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_CT_STATUS, NFT_DATA_VERDICT, NFT_DYNSET_OP_UPDATE,
    NFT_GOTO, NFT_JUMP, NFT_LOOKUP_F_INV, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_MARK,
    NFT_META_PRIORITY, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE, NFT_MSG_DELSET, NFT_MSG_DELSETELEM,
    NFT_MSG_DELTABLE, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN, NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWGEN, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NFT_NAT_DNAT, NFT_NG_RANDOM, NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER, NFT_REG_VERDICT, NFT_REJECT_ICMP_UNREACH, NFT_REJECT_TCP_RST, NFT_RETURN,
    NFT_SET_ANONYMOUS, NFT_SET_EVAL, NFT_SET_INTERVAL, NFT_SET_MAP, NFT_SET_TIMEOUT, NLM_F_ACK,
    NLM_F_ACK_TLVS, NLM_F_APPEND, NLM_F_CAPPED, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, RTN_LOCAL, SOL_NETLINK, c_int,
};

pub(crate) const NLMSGERR_ATTR_MSG: u16 = 1;
pub(crate) const NLMSGERR_ATTR_OFFS: u16 = 2;

pub(crate) const NLA_F_NESTED: u16 = 0x8000;
pub(crate) const NLA_TYPE_MASK: u16 = 0x3fff;

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// Length of `struct nlmsghdr` and `struct nfgenmsg`.
pub(crate) const HEADERS: usize = HEADER + 4;
/// Length of `struct nlattr`.
pub(crate) const ATTRIBUTE_HEADER: usize = 4;

/// The generation that a batch is meant for, in the message that begins it.
pub(crate) const NFNL_BATCH_GENID: u16 = 1;

/// The table's name has this number in every message of `nf_tables` except those about the generation.
pub(crate) const NFTA_TABLE_NAME: u16 = 1;
pub(crate) const NFTA_TABLE_FLAGS: u16 = 2;
pub(crate) const NFTA_TABLE_OWNER: u16 = 7;
pub(crate) const NFT_TABLE_F_DORMANT: c_int = 1;
pub(crate) const NFT_TABLE_F_OWNER: c_int = 2;
pub(crate) const NFT_TABLE_F_PERSIST: c_int = 4;

pub(crate) const NFTA_GEN_ID: u16 = 1;
pub(crate) const NFTA_GEN_PROC_PID: u16 = 2;
pub(crate) const NFTA_GEN_PROC_NAME: u16 = 3;

pub(crate) const NFTA_CHAIN_NAME: u16 = 3;
pub(crate) const NFTA_CHAIN_HOOK: u16 = 4;
pub(crate) const NFTA_CHAIN_POLICY: u16 = 5;
pub(crate) const NFTA_CHAIN_TYPE: u16 = 7;
pub(crate) const NFTA_CHAIN_FLAGS: u16 = 10;
pub(crate) const NFT_CHAIN_BASE: c_int = 1;
pub(crate) const NFT_CHAIN_BINDING: c_int = 4;
pub(crate) const NFTA_HOOK_HOOKNUM: u16 = 1;
pub(crate) const NFTA_HOOK_PRIORITY: u16 = 2;

pub(crate) const NFTA_RULE_CHAIN: u16 = 2;
pub(crate) const NFTA_RULE_EXPRESSIONS: u16 = 4;
/// Most expressions that the kernel accepts in one rule.
pub(crate) const NFT_RULE_MAXEXPRS: usize = 128;

pub(crate) const NFTA_SET_NAME: u16 = 2;
pub(crate) const NFTA_SET_FLAGS: u16 = 3;
pub(crate) const NFTA_SET_KEY_TYPE: u16 = 4;
pub(crate) const NFTA_SET_KEY_LEN: u16 = 5;
pub(crate) const NFTA_SET_DATA_TYPE: u16 = 6;
pub(crate) const NFTA_SET_DATA_LEN: u16 = 7;
pub(crate) const NFTA_SET_DESC: u16 = 9;
pub(crate) const NFTA_SET_ID: u16 = 10;
pub(crate) const NFTA_SET_TIMEOUT: u16 = 11;
pub(crate) const NFTA_SET_USERDATA: u16 = 13;
pub(crate) const NFTA_SET_EXPR: u16 = 17;
pub(crate) const NFTA_SET_EXPRESSIONS: u16 = 18;
/// Since 6.16.
pub(crate) const NFTA_SET_COUNT: u16 = 20;
pub(crate) const NFTA_SET_DESC_SIZE: u16 = 1;
pub(crate) const NFTA_SET_DESC_CONCAT: u16 = 2;
pub(crate) const NFTA_LIST_ELEM: u16 = 1;
pub(crate) const NFTA_SET_FIELD_LEN: u16 = 1;
pub(crate) const NFT_SET_CONCAT: c_int = 0x80;

pub(crate) const NFTA_SET_ELEM_LIST_SET: u16 = 2;
pub(crate) const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
pub(crate) const NFTA_SET_ELEM_KEY: u16 = 1;
pub(crate) const NFTA_SET_ELEM_DATA: u16 = 2;
pub(crate) const NFTA_SET_ELEM_FLAGS: u16 = 3;
pub(crate) const NFTA_SET_ELEM_USERDATA: u16 = 6;
pub(crate) const NFTA_SET_ELEM_EXPR: u16 = 7;
pub(crate) const NFTA_SET_ELEM_KEY_END: u16 = 10;
pub(crate) const NFT_SET_ELEM_INTERVAL_END: c_int = 1;
pub(crate) const NFT_SET_ELEM_CATCHALL: c_int = 2;

pub(crate) const NFTA_DATA_VALUE: u16 = 1;
pub(crate) const NFTA_DATA_VERDICT: u16 = 2;
pub(crate) const NFTA_VERDICT_CODE: u16 = 1;
pub(crate) const NFTA_VERDICT_CHAIN: u16 = 2;

pub(crate) const NFTA_EXPR_NAME: u16 = 1;
pub(crate) const NFTA_EXPR_DATA: u16 = 2;
/// Name of the counter expression.
pub(crate) const COUNTER: &str = "counter";
pub(crate) const NFTA_COUNTER_PACKETS: u16 = 2;
pub(crate) const NFTA_BITWISE_MASK: u16 = 4;
pub(crate) const NFTA_BITWISE_XOR: u16 = 5;
pub(crate) const NFTA_BITWISE_OP: u16 = 6;
pub(crate) const NFTA_BYTEORDER_SREG: u16 = 1;
pub(crate) const NFTA_BYTEORDER_DREG: u16 = 2;
pub(crate) const NFTA_BYTEORDER_LEN: u16 = 4;
pub(crate) const NFTA_CMP_DATA: u16 = 3;
pub(crate) const NFTA_DYNSET_TIMEOUT: u16 = 6;
pub(crate) const NFTA_DYNSET_PAD: u16 = 8;
pub(crate) const NFTA_DYNSET_FLAGS: u16 = 9;
pub(crate) const NFTA_HASH_OFFSET: u16 = 6;
pub(crate) const NFTA_HASH_TYPE: u16 = 7;
pub(crate) const NFTA_IMMEDIATE_DATA: u16 = 2;
pub(crate) const NFTA_LOOKUP_FLAGS: u16 = 5;
pub(crate) const NFTA_MASQ_FLAGS: u16 = 1;
pub(crate) const NFTA_NAT_REG_ADDR_MIN: u16 = 3;
pub(crate) const NFTA_NAT_REG_ADDR_MAX: u16 = 4;
pub(crate) const NFTA_NAT_REG_PROTO_MIN: u16 = 5;
pub(crate) const NFTA_NAT_REG_PROTO_MAX: u16 = 6;
pub(crate) const NFTA_NAT_FLAGS: u16 = 7;
pub(crate) const NFTA_NG_OFFSET: u16 = 4;
pub(crate) const NFTA_REJECT_TYPE: u16 = 1;
pub(crate) const NFTA_REJECT_ICMP_CODE: u16 = 2;

pub(crate) const NFT_HASH_JENKINS: u32 = 0;
pub(crate) const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
pub(crate) const NFTA_FIB_F_SADDR: u32 = 1;
pub(crate) const NFTA_FIB_F_DADDR: u32 = 2;
pub(crate) const NFT_DYNSET_OP_DELETE: c_int = 2;
pub(crate) const NF_NAT_RANGE_MAP_IPS: u32 = 1;
pub(crate) const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;
pub(crate) const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 16;
/// `IPS_DST_NAT` of `linux/netfilter/nf_conntrack_common.h`.
pub(crate) const IPS_DST_NAT: u32 = 0x20;

/// Longest name of a table, chain or set, without the terminating zero (`NFT_NAME_MAXLEN`).
pub(crate) const NAME_MAX: usize = 255;

/// Types of the records in an element's user data (`enum nftnl_udata_set_elem_types` of libnftnl).
pub(crate) const UDATA_ELEM_COMMENT: u8 = 0;
pub(crate) const UDATA_ELEM_FLAGS: u8 = 1;
/// The range has no end in the kernel: it extends to the greatest key.
pub(crate) const UDATA_ELEM_F_INTERVAL_OPEN: u32 = 1;
/// Types of the records in a set's user data (`enum nftnl_udata_set_types` of libnftnl).
pub(crate) const UDATA_SET_KEY_BYTEORDER: u8 = 0;
pub(crate) const UDATA_SET_DATA_BYTEORDER: u8 = 1;
