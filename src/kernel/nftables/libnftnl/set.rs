//! Declarations of sets and maps.

use std::{
    ffi::{c_char, c_void},
    ptr::NonNull,
};

use nftnl::{MsgType, NlMsg};
use nftnl_sys::{self as sys, libc};
use portolan_rules::ruleset::{Family, Set, SetData};

use super::{Attribute, CName, allocated, attribute};
use crate::kernel::nftables::{
    declaration::Declaration,
    uapi::{NFT_MSG_DELSET, NFT_MSG_NEWSET, UDATA_SET_DATA_BYTEORDER, UDATA_SET_KEY_BYTEORDER},
};

/// A set or map, for a message about it.
pub(in crate::kernel::nftables) struct SetMessage {
    set: NonNull<sys::nftnl_set>,
    family: Family,
}

impl SetMessage {
    /// A set or map by its name, enough to delete it.
    pub(in crate::kernel::nftables) fn named(
        (family, table): (Family, &CName),
        name: &str,
    ) -> Result<Self, String> {
        let name = CName::new(name)?;
        // SAFETY: libnftnl returns null or a set that nobody else has.
        let set = allocated(unsafe { sys::nftnl_set_alloc() });
        let message = Self { set, family };
        message.number(attribute!(NFTNL_SET_FAMILY), family.number().into())?;
        message.data(attribute!(NFTNL_SET_TABLE), table.0.to_bytes_with_nul())?;
        message.data(attribute!(NFTNL_SET_NAME), name.0.to_bytes_with_nul())?;
        Ok(message)
    }

    /// A set or map as declared. `id` tells it from others of the same batch.
    pub(in crate::kernel::nftables) fn declared(
        table: (Family, &CName),
        set: &Set,
        id: u32,
    ) -> Result<Self, String> {
        let message = Self::named(table, &set.name)?;
        let declaration = Declaration::of(set)?;
        message.number(attribute!(NFTNL_SET_FLAGS), declaration.flags)?;
        message.number(attribute!(NFTNL_SET_KEY_TYPE), declaration.key_type)?;
        message.number(attribute!(NFTNL_SET_KEY_LEN), declaration.key_length)?;
        if set.data != SetData::None {
            message.number(attribute!(NFTNL_SET_DATA_TYPE), declaration.data_type)?;
            message.number(attribute!(NFTNL_SET_DATA_LEN), declaration.data_length)?;
        }
        message.number(attribute!(NFTNL_SET_ID), id)?;
        if let Some(size) = set.size {
            message.number(attribute!(NFTNL_SET_DESC_SIZE), size)?;
        }
        if set.counter {
            message.counter();
        }
        if declaration.describes_fields() {
            let lengths: Vec<u8> = set.key.iter().map(|field| field.size() as u8).collect();
            message.data(attribute!(NFTNL_SET_DESC_CONCAT), &lengths)?;
        }
        let mut userdata = Vec::with_capacity(12);
        record(&mut userdata, UDATA_SET_KEY_BYTEORDER, declaration.key_byte_order);
        if set.data != SetData::None {
            record(&mut userdata, UDATA_SET_DATA_BYTEORDER, declaration.data_byte_order);
        }
        message.data(attribute!(NFTNL_SET_USERDATA), &userdata)?;
        Ok(message)
    }

    /// Has each element count: the kernel gives those that come without an expression a copy of the set's.
    fn counter(&self) {
        // SAFETY: the name is terminated; the set, which lives, takes over an expression that nobody else has.
        unsafe {
            let expression = allocated(sys::nftnl_expr_alloc(c"counter".as_ptr()));
            sys::nftnl_set_add_expr(self.set.as_ptr(), expression.as_ptr());
        }
    }

    fn number(&self, attribute: Attribute, value: u32) -> Result<(), String> {
        self.data(attribute, &value.to_ne_bytes())
    }

    /// Sets an attribute, numbers in host order and names with their zero. Refuses, with its name, one that libnftnl
    /// does not take.
    fn data(&self, attribute: Attribute, value: &[u8]) -> Result<(), String> {
        let (number, length) = (attribute.number as u16, value.len() as u32);
        // SAFETY: the set lives; the setter copies as many bytes as it is told, of names as many as the zero ends. The
        // lengths of fields are at most 16, the number of fields that libnftnl has room for.
        attribute.taken(unsafe {
            sys::nftnl_set_set_data(self.set.as_ptr(), number, value.as_ptr().cast(), length)
        })
    }

    fn header(&self, buffer: *mut c_void, kind: u16, sequence: u32) -> *mut libc::nlmsghdr {
        // SAFETY: callers pass a buffer that holds the longest message, aligned for its header.
        unsafe {
            let family = u16::from(self.family.number());
            sys::nftnl_nlmsg_build_hdr(buffer.cast::<c_char>(), kind, family, 0, sequence)
        }
    }
}

/// A record of user data as libnftnl writes it: type, length, value.
fn record(userdata: &mut Vec<u8>, kind: u8, value: u32) {
    userdata.extend_from_slice(&[kind, 4]);
    userdata.extend_from_slice(&value.to_ne_bytes());
}

// SAFETY: a declaration has two names of at most 255 bytes, a few numbers, at most 16 lengths of fields and one
// expression without parameters.
unsafe impl NlMsg for SetMessage {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
        let kind = match kind {
            MsgType::Add => NFT_MSG_NEWSET,
            MsgType::Del => NFT_MSG_DELSET,
        };
        let header = self.header(buffer, kind, sequence);
        // SAFETY: header and set live; the caller answers for the length of the buffer.
        unsafe { sys::nftnl_set_nlmsg_build_payload(header, self.set.as_ptr()) };
    }
}

impl Drop for SetMessage {
    fn drop(&mut self) {
        // SAFETY: allocated by `named` and freed nowhere else.
        unsafe { sys::nftnl_set_free(self.set.as_ptr()) };
    }
}

/// An element as libnftnl takes it, for the test that compares its bytes with our own encoder's.
#[cfg(test)]
pub(in crate::kernel::nftables) struct RawElement<'a> {
    pub flags: Option<u32>,
    pub key: &'a [u8],
    pub key_end: Option<&'a [u8]>,
    pub data: Option<&'a [u8]>,
    pub verdict: Option<(i32, Option<&'a str>)>,
    pub userdata: Option<&'a [u8]>,
}

/// libnftnl's message with these elements, without its flags.
#[cfg(test)]
pub(in crate::kernel::nftables) fn elements_message(
    family: Family,
    (table, set): (&str, &str),
    delete: bool,
    sequence: u32,
    elements: &[RawElement<'_>],
) -> Vec<u8> {
    use crate::kernel::nftables::uapi::{NFT_MSG_DELSETELEM, NFT_MSG_NEWSETELEM};

    struct Elements(SetMessage);
    // SAFETY: tests pass fewer elements than the longest message holds.
    unsafe impl NlMsg for Elements {
        unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
            let kind = match kind {
                MsgType::Add => NFT_MSG_NEWSETELEM,
                MsgType::Del => NFT_MSG_DELSETELEM,
            };
            let header = self.0.header(buffer, kind, sequence);
            // SAFETY: header and set live; the caller answers for the length of the buffer.
            unsafe { sys::nftnl_set_elems_nlmsg_build_payload(header, self.0.set.as_ptr()) };
        }
    }

    let table = CName::new(table).unwrap();
    let message = SetMessage::named((family, &table), set).unwrap();
    for element in elements {
        // SAFETY: element and set live, the setters copy, and the set takes the element over.
        unsafe {
            let raw = allocated(sys::nftnl_set_elem_alloc()).as_ptr();
            let data = |attribute: u32, bytes: &[u8]| {
                sys::nftnl_set_elem_set(raw, attribute as u16, bytes.as_ptr().cast(), bytes.len() as u32);
            };
            data(sys::NFTNL_SET_ELEM_KEY, element.key);
            if let Some(flags) = element.flags {
                sys::nftnl_set_elem_set_u32(raw, sys::NFTNL_SET_ELEM_FLAGS as u16, flags);
            }
            if let Some(end) = element.key_end {
                data(sys::NFTNL_SET_ELEM_KEY_END, end);
            }
            if let Some(value) = element.data {
                data(sys::NFTNL_SET_ELEM_DATA, value);
            }
            if let Some((code, chain)) = element.verdict {
                sys::nftnl_set_elem_set_u32(raw, sys::NFTNL_SET_ELEM_VERDICT as u16, code.cast_unsigned());
                if let Some(chain) = chain {
                    let chain = CName::new(chain).unwrap();
                    sys::nftnl_set_elem_set_str(raw, sys::NFTNL_SET_ELEM_CHAIN as u16, chain.0.as_ptr());
                }
            }
            if let Some(userdata) = element.userdata {
                data(sys::NFTNL_SET_ELEM_USERDATA, userdata);
            }
            sys::nftnl_set_elem_add(message.set.as_ptr(), raw);
        }
    }
    let mut bytes = Vec::new();
    let kind = if delete { MsgType::Del } else { MsgType::Add };
    super::Writer::new().write(&mut bytes, &Elements(message), sequence, kind, 0);
    bytes
}
