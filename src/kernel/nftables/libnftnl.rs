//! The layer over libnftnl and libmnl: writes the messages for tables, chains, rules and the declarations of
//! sets, and sets options of the socket. It is the only unsafe code of Portolan, but for one declaration
//! in `memory.rs`.
//!
//! Where the crate `nftnl` has the word its safe API is used; what it lacks (maps, most expressions or their
//! parameters) goes through `nftnl-sys`. Everything unsafe is one of two things:
//! - calls of setters with a pointer that libnftnl has just allocated and that nothing else owns, a number of
//!   an attribute of that object, and data that the setter copies;
//! - `NlMsg::write` into [`Writer`]'s buffer, which has the length that `nftnl` asks for and the alignment
//!   of `struct nlmsghdr`.
#![allow(unsafe_code)] // libnftnl and libmnl are C libraries

mod expression;
mod set;
mod socket;

use std::{
    ffi::{CStr, CString, c_int},
    ptr::NonNull,
};

use nftnl::{Chain as NftnlChain, MsgType, NlMsg, ProtoFamily, Rule as NftnlRule, Table};
use portolan_rules::ruleset::{BaseChain, ChainType, Family, Hook};

use super::{
    instruction::Instruction,
    uapi::{HEADER, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST},
};

#[cfg(test)]
pub(super) use self::set::{RawElement, elements_message};
pub(super) use self::{
    set::SetMessage,
    socket::{attach_filter, borrow, set_option},
};

/// A name that libnftnl can take.
pub(super) struct CName(CString);

impl CName {
    /// Refuses names with a zero byte and those longer than the kernel takes.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > super::uapi::NAME_MAX {
            return Err(format!("a name of {} bytes", name.len()));
        }
        CString::new(name).map(Self).map_err(|_| format!("name {name:?} with a zero byte"))
    }
}

impl AsRef<CStr> for CName {
    fn as_ref(&self) -> &CStr {
        &self.0
    }
}

/// Writes messages one after the other into a buffer of libnftnl's liking and copies them out.
pub(super) struct Writer {
    /// Words, so that it is aligned for every netlink structure.
    scratch: Vec<u64>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { scratch: vec![0; (nftnl::nft_nlmsg_maxsize() as usize).div_ceil(size_of::<u64>())] }
    }

    /// Creates or deletes a table.
    pub(super) fn table(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u32,
        (family, table): (Family, &CName),
        kind: MsgType,
    ) {
        let flags = if matches!(kind, MsgType::Add) { NLM_F_CREATE } else { 0 };
        self.write(out, &Table::new(table, nftnl_family(family)), sequence, kind, flags);
    }

    /// Creates or deletes a chain.
    pub(super) fn chain(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u32,
        (family, table): (Family, &CName),
        (chain, base): (&CName, Option<BaseChain>),
        kind: MsgType,
    ) {
        let table = Table::new(table, nftnl_family(family));
        let mut chain = NftnlChain::new(chain, &table);
        if let Some(base) = base {
            chain.set_hook(nftnl_hook(base.hook), base.priority);
            chain.set_type(match base.chain_type {
                ChainType::Filter => nftnl::ChainType::Filter,
                ChainType::Nat => nftnl::ChainType::Nat,
            });
        }
        let flags = if matches!(kind, MsgType::Add) { NLM_F_CREATE } else { 0 };
        self.write(out, &chain, sequence, kind, flags);
    }

    /// Appends a rule of these instructions.
    pub(super) fn rule(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u32,
        (family, table): (Family, &CName),
        chain: &CName,
        instructions: &[Instruction],
    ) -> Result<(), String> {
        let table = Table::new(table, nftnl_family(family));
        let chain = NftnlChain::new(chain, &table);
        let mut rule = NftnlRule::new(&chain);
        for instruction in instructions {
            expression::Prepared::new(instruction)?.append_to(&mut rule);
        }
        self.write(out, &rule, sequence, MsgType::Add, NLM_F_CREATE | NLM_F_APPEND);
        Ok(())
    }

    /// Deletes all rules of a chain: a deletion without a rule's handle.
    pub(super) fn flush(
        &mut self,
        out: &mut Vec<u8>,
        sequence: u32,
        (family, table): (Family, &CName),
        chain: &CName,
    ) {
        let table = Table::new(table, nftnl_family(family));
        let chain = NftnlChain::new(chain, &table);
        self.write(out, &NftnlRule::new(&chain), sequence, MsgType::Del, 0);
    }

    /// Creates or deletes a set or map.
    pub(super) fn set(&mut self, out: &mut Vec<u8>, sequence: u32, set: &SetMessage, kind: MsgType) {
        let flags = if matches!(kind, MsgType::Add) { NLM_F_CREATE } else { 0 };
        self.write(out, set, sequence, kind, flags);
    }

    /// Writes one message and gives it our own flags: `nftnl` asks for an acknowledgement of each, of which
    /// a large batch would have more than a socket's buffer holds.
    fn write(&mut self, out: &mut Vec<u8>, message: &impl NlMsg, sequence: u32, kind: MsgType, flags: u16) {
        let buffer = self.scratch.as_mut_ptr();
        // SAFETY: the buffer has `nft_nlmsg_maxsize()` bytes, as `NlMsg` asks for.
        unsafe { message.write(buffer.cast(), sequence, kind) };
        // SAFETY: the same bytes, all initialised, borrowed for as long as `self` is.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(buffer.cast::<u8>(), self.scratch.len() * size_of::<u64>())
        };
        bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
        let length = super::attributes::u32_at(bytes, 0).map_or(HEADER, |length| length as usize);
        out.extend_from_slice(&bytes[..length.min(bytes.len())]);
    }
}

const fn nftnl_family(family: Family) -> ProtoFamily {
    match family {
        Family::Ip => ProtoFamily::Ipv4,
        Family::Ip6 => ProtoFamily::Ipv6,
    }
}

const fn nftnl_hook(hook: Hook) -> nftnl::Hook {
    match hook {
        Hook::Prerouting => nftnl::Hook::PreRouting,
        Hook::Input => nftnl::Hook::In,
        Hook::Forward => nftnl::Hook::Forward,
        Hook::Output => nftnl::Hook::Out,
        Hook::Postrouting => nftnl::Hook::PostRouting,
    }
}

/// An attribute of one of libnftnl's objects.
#[derive(Clone, Copy, Debug)]
struct Attribute {
    number: u32,
    /// libnftnl's name of the number.
    name: &'static str,
}

/// The [`Attribute`] of this name.
macro_rules! attribute {
    ($name:ident) => {
        $crate::kernel::nftables::libnftnl::Attribute { number: nftnl_sys::$name, name: stringify!($name) }
    };
}
use attribute;

impl Attribute {
    /// What a setter's result says: a library that lacks the attribute, or takes another length of value, would
    /// leave it out without a word.
    fn taken(self, result: c_int) -> Result<(), String> {
        if result < 0 { Err(format!("libnftnl does not take {}", self.name)) } else { Ok(()) }
    }
}

/// What libnftnl's allocators return. They fail only when memory is out for a few dozen bytes; like the
/// standard library's own collections, Portolan does not go on then.
fn allocated<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).unwrap_or_else(|| std::process::abort())
}
