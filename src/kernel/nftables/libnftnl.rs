//! Safe functions over libnftnl's objects and libmnl's sockets. This is the only unsafe code of the kernel layer; the
//! only other unsafe code of Portolan is in `src/agent/memory.rs`, which calls functions of glibc.
//!
//! libnftnl writes the expressions of rules. All of its objects work alike: they are allocated, given attributes whose
//! values they copy, written as the attributes of a message, and freed.
#![allow(unsafe_code)] // libnftnl and libmnl are C libraries

use std::{
    ffi::{CStr, c_int, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

use nftnl::nftnl_sys::{
    self as sys,
    libc::{self, nlmsghdr},
};
use smallvec::SmallVec;

use super::{attributes::u32_at, uapi::*};

/// The value of an attribute: at most an IPv6 address, or a name.
pub(super) type Bytes = SmallVec<[u8; 16]>;

/// Attributes of an object: libnftnl's number of each, the name of that number, and the value. If an attribute occurs
/// twice, the last value counts.
pub(super) type Values = Vec<(u32, &'static str, Bytes)>;

/// An expression of a rule.
#[derive(Debug)]
pub(super) struct Expression {
    pub name: &'static CStr,
    pub attributes: Values,
}

/// Lists attributes with their values, by libnftnl's names of their numbers: `attributes![NFTNL_EXPR_CMP_OP => 1]`.
macro_rules! attributes {
    ($($name:ident => $value:expr),* $(,)?) => {
        vec![$((
            nftnl::nftnl_sys::$name,
            stringify!($name),
            $crate::kernel::nftables::libnftnl::Value::bytes($value),
        )),*]
    };
}
pub(super) use attributes;

/// A value of an attribute.
pub(super) trait Value {
    /// The bytes that libnftnl reads: numbers in host order, names terminated by a zero.
    fn bytes(self) -> Bytes;
}

macro_rules! number {
    ($($number:ty),*) => {
        $(impl Value for $number {
            fn bytes(self) -> Bytes {
                Bytes::from_slice(&self.to_ne_bytes())
            }
        })*
    };
}
number!(u8, i32, u32, u64);

impl Value for &[u8] {
    fn bytes(self) -> Bytes {
        Bytes::from_slice(self)
    }
}

impl Value for &str {
    fn bytes(self) -> Bytes {
        self.as_bytes().iter().copied().chain([0]).collect()
    }
}

/// An owned rule.
struct Rule(NonNull<sys::nftnl_rule>);

impl Rule {
    /// Creates a rule of these expressions.
    fn new(expressions: &[Expression]) -> Result<Self, String> {
        // SAFETY: it has no arguments.
        let rule = Self(allocated(unsafe { sys::nftnl_rule_alloc() }));
        for Expression { name, attributes } in expressions {
            // SAFETY: the name ends with its zero.
            let expression = allocated(unsafe { sys::nftnl_expr_alloc(name.as_ptr()) });
            // SAFETY: both are alive, and the rule takes ownership of the expression.
            unsafe {
                sys::nftnl_rule_add_expr(rule.0.as_ptr(), expression.as_ptr());
                set_all(expression, sys::nftnl_expr_set, attributes)?;
            }
        }
        Ok(rule)
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        // SAFETY: it was allocated, and nothing else owns it.
        unsafe { sys::nftnl_rule_free(self.0.as_ptr()) };
    }
}

/// A function of libnftnl that sets an attribute of an object.
type Setter<T> = unsafe extern "C" fn(*mut T, u16, *const c_void, u32) -> c_int;

/// Checks an allocation. It fails only if there is no memory for a few dozen bytes; Portolan aborts then, as the
/// standard library's collections do.
fn allocated<T>(object: *mut T) -> NonNull<T> {
    NonNull::new(object).unwrap_or_else(|| std::process::abort())
}

/// Sets attributes of an object. Fails with the name of an attribute that libnftnl does not accept, because the library
/// lacks it or expects a value of another length: the attribute would be left out silently.
///
/// # Safety
/// The object must be alive, and the setter must be the one for its type.
unsafe fn set_all<T>(object: NonNull<T>, setter: Setter<T>, attributes: &Values) -> Result<(), String> {
    for (number, name, value) in attributes {
        // SAFETY: the setter copies the given number of bytes, and names up to their zero. Constants have at most 16
        // bytes, and there is room for 64.
        let result =
            unsafe { setter(object.as_ptr(), *number as u16, value.as_ptr().cast(), value.len() as u32) };
        if result < 0 {
            return Err(format!("libnftnl does not take {name}"));
        }
    }
    Ok(())
}

/// Longest message, in bytes: its lists have at most 64 KiB.
const MESSAGE_MAX: usize = 128 << 10;

/// A buffer in which libnftnl writes messages. It consists of words, so that it is aligned for every netlink structure.
#[derive(Default)]
pub(super) struct Scratch(Vec<u64>);

impl Scratch {
    /// Writes the attributes of a message about a rule with these expressions, without its table and chain. Names in it
    /// have at most 255 bytes, and there are at most 128 expressions, so that it fits into the buffer.
    pub(super) fn rule(&mut self, expressions: &[Expression]) -> Result<&[u8], String> {
        let rule = Rule::new(expressions)?;
        // SAFETY: the rule and the message are alive.
        Ok(self.written(|message| unsafe { sys::nftnl_rule_nlmsg_build_payload(message, rule.0.as_ptr()) }))
    }

    /// Returns the attributes that a function appends to an empty message.
    fn written(&mut self, write: impl FnOnce(*mut nlmsghdr)) -> &[u8] {
        self.0.resize(MESSAGE_MAX / size_of::<u64>(), 0);
        // The length comes first.
        self.0[0] = 0;
        let message: *mut nlmsghdr = self.0.as_mut_ptr().cast();
        // SAFETY: the buffer is aligned for the header, and larger than it.
        unsafe { (*message).nlmsg_len = HEADERS as u32 };
        write(message);
        // SAFETY: the same bytes, all initialised, borrowed for as long as `self` is.
        let bytes = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), MESSAGE_MAX) };
        let length = u32_at(bytes, 0).unwrap_or(0) as usize;
        bytes.get(HEADERS..length).unwrap_or_default()
    }
}

/// The file descriptor of a socket.
pub(super) fn borrow(socket: &mnl::Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket is open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Sets an integer option of a socket.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set(socket, level, name, &value)
}

/// Has the kernel run a classic BPF program on each datagram for a socket, and drop those for which it returns zero
/// (`SO_ATTACH_FILTER`). It replaces the one before.
pub(super) fn attach_filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = program.len().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    // The kernel copies the program and writes nothing to it.
    let value = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &value)
}

/// Sets an option of a socket. What the value points to must be valid.
fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, and what it points to; both outlive the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The attributes of the messages that declare a set and add elements to it, which fit into one: for the tests that
    /// compare libnftnl's bytes with our own encoder's.
    pub(in super::super) fn set(values: &Values, counter: bool, elements: &[Values]) -> [Vec<u8>; 2] {
        // SAFETY: allocation takes nothing; all live, the set frees what it is given, and it is given little.
        unsafe {
            let set = allocated(sys::nftnl_set_alloc());
            set_all(set, sys::nftnl_set_set_data, values).unwrap();
            if counter {
                sys::nftnl_set_add_expr(set.as_ptr(), sys::nftnl_expr_alloc(c"counter".as_ptr()));
            }
            for attributes in elements {
                let element = allocated(sys::nftnl_set_elem_alloc());
                sys::nftnl_set_elem_add(set.as_ptr(), element.as_ptr());
                set_all(element, sys::nftnl_set_elem_set, attributes).unwrap();
            }
            let (mut one, mut other) = (Scratch::default(), Scratch::default());
            let declared = one.written(|message| sys::nftnl_set_nlmsg_build_payload(message, set.as_ptr()));
            let added =
                other.written(|message| sys::nftnl_set_elems_nlmsg_build_payload(message, set.as_ptr()));
            sys::nftnl_set_free(set.as_ptr());
            [declared.to_vec(), added.to_vec()]
        }
    }

    #[test]
    fn an_attribute_that_libnftnl_does_not_know_is_named() {
        let mut attributes = attributes![NFTNL_EXPR_NG_MODULUS => 3_u32];
        let written = |attributes: &Values| {
            let expression = Expression { name: c"numgen", attributes: attributes.clone() };
            Scratch::default().rule(&[expression]).map(drop)
        };
        assert!(written(&attributes).is_ok());
        attributes.push((40, "NFTNL_EXPR_NG_SEED", 1_u32.bytes()));
        let error = written(&attributes).err().unwrap();
        assert_eq!(error, "libnftnl does not take NFTNL_EXPR_NG_SEED");
    }
}
