//! libnftnl's objects and libmnl's sockets, as far as they are needed, behind functions that are safe to call. It is the
//! only unsafe code of Portolan, but for one declaration in `memory.rs`.
//!
//! libnftnl writes what is nested: the expressions of rules, and declarations of sets. All of its objects work alike:
//! they are allocated, given attributes of which they copy the values, perhaps given expressions, written as the
//! attributes of a message, and freed.
#![allow(unsafe_code)] // libnftnl and libmnl are C libraries

use std::{
    ffi::{CStr, CString, c_int, c_void},
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

/// An attribute of one of libnftnl's objects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute {
    pub number: u32,
    /// libnftnl's name of the number.
    pub name: &'static str,
}

/// Attributes with their values, each by libnftnl's name of its number: `attributes![NFTNL_EXPR_CMP_OP => 1]`.
macro_rules! attributes {
    ($($name:ident => $value:expr),* $(,)?) => {
        vec![$((
            $crate::kernel::nftables::libnftnl::Attribute { number: nftnl::nftnl_sys::$name, name: stringify!($name) },
            $crate::kernel::nftables::libnftnl::Value::bytes($value),
        )),*]
    };
}
pub(super) use attributes;

/// What an attribute can be set to.
pub(super) trait Value {
    /// As libnftnl reads it: numbers in host order, names with a zero at their end.
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

impl Value for &Name {
    fn bytes(self) -> Bytes {
        Bytes::from_slice(self.0.as_bytes_with_nul())
    }
}

/// A name that the kernel takes.
pub(super) struct Name(CString);

impl Name {
    /// Refuses names with a zero byte and those longer than the kernel takes.
    pub(super) fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(format!("a name of {} bytes", name.len()));
        }
        CString::new(name).map(Self).map_err(|_| format!("name {name:?} with a zero byte"))
    }

    /// Without the zero at its end.
    pub(super) fn text(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// One of libnftnl's kinds of objects.
///
/// # Safety
/// The functions are those of libnftnl for this kind.
pub(super) unsafe trait Kind {
    const FREE: unsafe extern "C" fn(*const Self);
    const SET: unsafe extern "C" fn(*mut Self, u16, *const c_void, u32) -> c_int;
}

/// Objects that have expressions, and of which libnftnl writes a message.
///
/// # Safety
/// The functions are those of libnftnl for this kind: `ADD` makes the object free the expression with itself. `WRITE`
/// appends attributes to a message, no more of them than [`MESSAGE_MAX`] has room for.
pub(super) unsafe trait Message: Kind {
    const ALLOCATE: unsafe extern "C" fn() -> *mut Self;
    const ADD: unsafe extern "C" fn(*mut Self, *mut sys::nftnl_expr);
    const WRITE: unsafe extern "C" fn(*mut nlmsghdr, *mut Self);
}

// SAFETY: these are libnftnl's functions for the kind. In all messages names have at most 255 bytes; a rule has at most
// 128 expressions, and a set's declaration one without parameters, and a few numbers.
unsafe impl Kind for sys::nftnl_expr {
    const FREE: unsafe extern "C" fn(*const Self) = sys::nftnl_expr_free;
    const SET: unsafe extern "C" fn(*mut Self, u16, *const c_void, u32) -> c_int = sys::nftnl_expr_set;
}
// SAFETY: as above.
unsafe impl Kind for sys::nftnl_rule {
    const FREE: unsafe extern "C" fn(*const Self) = sys::nftnl_rule_free;
    const SET: unsafe extern "C" fn(*mut Self, u16, *const c_void, u32) -> c_int = sys::nftnl_rule_set_data;
}
// SAFETY: as above.
unsafe impl Message for sys::nftnl_rule {
    const ALLOCATE: unsafe extern "C" fn() -> *mut Self = sys::nftnl_rule_alloc;
    const ADD: unsafe extern "C" fn(*mut Self, *mut sys::nftnl_expr) = sys::nftnl_rule_add_expr;
    const WRITE: unsafe extern "C" fn(*mut nlmsghdr, *mut Self) = sys::nftnl_rule_nlmsg_build_payload;
}
// SAFETY: as above.
unsafe impl Kind for sys::nftnl_set {
    const FREE: unsafe extern "C" fn(*const Self) = sys::nftnl_set_free;
    const SET: unsafe extern "C" fn(*mut Self, u16, *const c_void, u32) -> c_int = sys::nftnl_set_set_data;
}
// SAFETY: as above.
unsafe impl Message for sys::nftnl_set {
    const ALLOCATE: unsafe extern "C" fn() -> *mut Self = sys::nftnl_set_alloc;
    const ADD: unsafe extern "C" fn(*mut Self, *mut sys::nftnl_expr) = sys::nftnl_set_add_expr;
    const WRITE: unsafe extern "C" fn(*mut nlmsghdr, *mut Self) = sys::nftnl_set_nlmsg_build_payload;
}

/// An object that this owns.
pub(super) struct Object<T: Kind>(NonNull<T>);

/// An expression of a rule or a set.
pub(super) type Expression = Object<sys::nftnl_expr>;
/// A rule.
pub(super) type Rule = Object<sys::nftnl_rule>;
/// A set's declaration.
pub(super) type Set = Object<sys::nftnl_set>;

impl Expression {
    /// An expression of this name.
    pub(super) fn expression(name: &CStr, attributes: Vec<(Attribute, Bytes)>) -> Result<Self, String> {
        // SAFETY: the name ends with its zero.
        Self::with(unsafe { sys::nftnl_expr_alloc(name.as_ptr()) }, attributes)
    }
}

impl<T: Message> Object<T> {
    /// An object with these expressions.
    pub(super) fn new(
        attributes: Vec<(Attribute, Bytes)>,
        expressions: Vec<Expression>,
    ) -> Result<Self, String> {
        // SAFETY: it takes nothing.
        let object = Self::with(unsafe { T::ALLOCATE() }, attributes)?;
        for expression in expressions {
            // SAFETY: both live, and from here on the object frees the expression.
            unsafe { T::ADD(object.0.as_ptr(), expression.0.as_ptr()) };
            std::mem::forget(expression);
        }
        Ok(object)
    }
}

impl<T: Kind> Object<T> {
    /// Gives these attributes to an object that nothing else owns. Refuses, by its name, an attribute that libnftnl
    /// does not take: a library that lacks it, or wants another length of value, would leave it out silently.
    fn with(object: *mut T, attributes: Vec<(Attribute, Bytes)>) -> Result<Self, String> {
        // Allocation fails only when memory is out for a few dozen bytes; like the standard library's own collections,
        // Portolan does not go on then.
        let object = Self(NonNull::new(object).unwrap_or_else(|| std::process::abort()));
        for (Attribute { number, name }, value) in attributes {
            // SAFETY: the object lives, and the setter copies as many bytes as it is told, of names as many as their zero
            // ends. Constants have at most 16 bytes, where 64 fit, and a set at most 16 fields.
            let result = unsafe {
                T::SET(object.0.as_ptr(), number as u16, value.as_ptr().cast(), value.len() as u32)
            };
            if result < 0 {
                return Err(format!("libnftnl does not take {name}"));
            }
        }
        Ok(object)
    }
}

impl<T: Kind> Drop for Object<T> {
    fn drop(&mut self) {
        // SAFETY: it was allocated, and given to no other object.
        unsafe { T::FREE(self.0.as_ptr()) };
    }
}

/// Room for the longest message: its lists have at most 64 KiB.
const MESSAGE_MAX: usize = 128 << 10;

/// Where libnftnl writes messages: words, so that it is aligned for every netlink structure.
pub(super) struct Scratch(Vec<u64>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![0; MESSAGE_MAX / size_of::<u64>()])
    }
}

impl Scratch {
    /// The attributes of an object's message.
    pub(super) fn attributes<T: Message>(&mut self, object: &Object<T>) -> &[u8] {
        self.written(|message| {
            // SAFETY: both live, and the message has the room that `Message` asks for.
            unsafe { T::WRITE(message, object.0.as_ptr()) };
        })
    }

    /// What a function appends to a message without attributes.
    fn written(&mut self, write: impl FnOnce(*mut nlmsghdr)) -> &[u8] {
        // The length comes first.
        self.0[0] = 0;
        let message: *mut nlmsghdr = self.0.as_mut_ptr().cast();
        // SAFETY: the words are aligned for the header, and hold it.
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

/// Sets an option; what the value points to must be there.
fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, and what it points to; both outlive the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// An element of a set, for the test that compares libnftnl's bytes with our own encoder's.
#[cfg(test)]
pub(super) type Element = Object<sys::nftnl_set_elem>;

#[cfg(test)]
// SAFETY: as above.
unsafe impl Kind for sys::nftnl_set_elem {
    const FREE: unsafe extern "C" fn(*const Self) = {
        unsafe extern "C" fn free(element: *const sys::nftnl_set_elem) {
            // SAFETY: as the caller says.
            unsafe { sys::nftnl_set_elem_free(element.cast_mut()) };
        }
        free
    };
    const SET: unsafe extern "C" fn(*mut Self, u16, *const c_void, u32) -> c_int = sys::nftnl_set_elem_set;
}

#[cfg(test)]
impl Set {
    /// Gives it an element with these attributes.
    pub(super) fn add(&mut self, attributes: Vec<(Attribute, Bytes)>) {
        // SAFETY: allocation takes nothing; both live, and from here on the set frees the element.
        unsafe {
            let element = Element::with(sys::nftnl_set_elem_alloc(), attributes).unwrap();
            sys::nftnl_set_elem_add(self.0.as_ptr(), element.0.as_ptr());
            std::mem::forget(element);
        }
    }
}

#[cfg(test)]
impl Scratch {
    /// The attributes of the message with a set's elements, which fit into one.
    pub(super) fn elements(&mut self, set: &Set) -> &[u8] {
        // SAFETY: the set lives, and tests give it few elements.
        self.written(|message| unsafe {
            sys::nftnl_set_elems_nlmsg_build_payload(message, set.0.as_ptr());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_libnftnl_does_not_know_is_named() {
        let mut attributes = attributes![NFTNL_EXPR_NG_MODULUS => 3_u32];
        assert!(Expression::expression(c"numgen", attributes.clone()).is_ok());
        let unknown = Attribute { number: 40, name: "NFTNL_EXPR_NG_SEED" };
        attributes.push((unknown, 1_u32.bytes()));
        let error = Expression::expression(c"numgen", attributes).err().unwrap();
        assert_eq!(error, "libnftnl does not take NFTNL_EXPR_NG_SEED");
    }
}
