//! libnftnl's objects and libmnl's sockets, as far as they are needed, behind functions that are safe to call. It is the
//! only unsafe code of Portolan, but for one declaration in `memory.rs`.
//!
//! libnftnl writes what is nested: the expressions of rules, and declarations of sets. All of its objects work alike:
//! they are allocated, given attributes of which they copy the values, perhaps given to another object, written as the
//! attributes of a message, and freed.
#![allow(unsafe_code)] // libnftnl and libmnl are C libraries

use std::{
    ffi::{CStr, CString, c_int, c_void},
    io,
    marker::PhantomData,
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
/// The functions are those of libnftnl for this kind; `allocate` gives null or an object that nothing else owns.
pub(super) unsafe trait Kind {
    fn allocate(name: &CStr) -> *mut Self;
    unsafe fn free(object: *mut Self);
    unsafe fn set(object: *mut Self, attribute: u16, value: *const c_void, length: u32) -> c_int;
}

/// Objects of which libnftnl writes a message.
///
/// # Safety
/// `write` appends attributes to a message, no more of them than [`MESSAGE_MAX`] has room for.
pub(super) unsafe trait Message: Kind {
    unsafe fn write(message: *mut nlmsghdr, object: *mut Self);
}

/// Objects that an object takes over.
///
/// # Safety
/// `give` makes `owner` free the object with itself.
pub(super) unsafe trait PartOf<Owner: Kind>: Kind {
    unsafe fn give(owner: *mut Owner, object: *mut Self);
}

macro_rules! kind {
    ($kind:ident, $allocate:expr, $free:ident, $set:ident $(, $write:ident)?) => {
        // SAFETY: these are libnftnl's functions for this kind.
        unsafe impl Kind for sys::$kind {
            fn allocate(name: &CStr) -> *mut Self {
                let allocate: fn(&CStr) -> *mut Self = $allocate;
                allocate(name)
            }
            unsafe fn free(object: *mut Self) {
                // SAFETY: as the caller says.
                unsafe { sys::$free(object) }
            }
            unsafe fn set(object: *mut Self, attribute: u16, value: *const c_void, length: u32) -> c_int {
                // SAFETY: as the caller says.
                unsafe { sys::$set(object, attribute, value, length) }
            }
        }
        // SAFETY: names have at most 255 bytes, a rule at most 128 expressions, and a set's declaration one without
        // parameters, and a few numbers.
        $(unsafe impl Message for sys::$kind {
            unsafe fn write(message: *mut nlmsghdr, object: *mut Self) {
                // SAFETY: as the caller says.
                unsafe { sys::$write(message, object) }
            }
        })?
    };
}

macro_rules! part {
    ($part:ident of $owner:ident, $give:ident) => {
        // SAFETY: it hangs the part into the owner's list, which is freed with the owner.
        unsafe impl PartOf<sys::$owner> for sys::$part {
            unsafe fn give(owner: *mut sys::$owner, object: *mut Self) {
                // SAFETY: as the caller says.
                unsafe { sys::$give(owner, object) }
            }
        }
    };
}

// SAFETY: an expression's name ends with its zero; the others take nothing.
kind!(nftnl_expr, |name| unsafe { sys::nftnl_expr_alloc(name.as_ptr()) }, nftnl_expr_free, nftnl_expr_set);
// SAFETY: as above.
kind!(
    nftnl_rule,
    |_| unsafe { sys::nftnl_rule_alloc() },
    nftnl_rule_free,
    nftnl_rule_set_data,
    nftnl_rule_nlmsg_build_payload
);
// SAFETY: as above.
kind!(
    nftnl_set,
    |_| unsafe { sys::nftnl_set_alloc() },
    nftnl_set_free,
    nftnl_set_set_data,
    nftnl_set_nlmsg_build_payload
);
part!(nftnl_expr of nftnl_rule, nftnl_rule_add_expr);
part!(nftnl_expr of nftnl_set, nftnl_set_add_expr);

/// An object that this owns.
pub(super) struct Object<T: Kind>(NonNull<T>, PhantomData<T>);

/// An expression of a rule or a set.
pub(super) type Expression = Object<sys::nftnl_expr>;
/// A rule.
pub(super) type Rule = Object<sys::nftnl_rule>;
/// A set's declaration.
pub(super) type Set = Object<sys::nftnl_set>;

impl<T: Kind> Object<T> {
    /// An object with these attributes; an expression needs its name. Refuses, by its name, an attribute that libnftnl
    /// does not take: a library that lacks it, or wants another length of value, would leave it out silently.
    pub(super) fn new(name: &CStr, attributes: Vec<(Attribute, Bytes)>) -> Result<Self, String> {
        // Allocation fails only when memory is out for a few dozen bytes; like the standard library's own collections,
        // Portolan does not go on then.
        let object = NonNull::new(T::allocate(name)).unwrap_or_else(|| std::process::abort());
        let object = Self(object, PhantomData);
        for (Attribute { number, name }, value) in attributes {
            // SAFETY: the object lives, and the setter copies as many bytes as it is told, of names as many as their zero
            // ends. Constants have at most 16 bytes, where 64 fit, and a set at most 16 fields.
            let result = unsafe {
                T::set(object.0.as_ptr(), number as u16, value.as_ptr().cast(), value.len() as u32)
            };
            if result < 0 {
                return Err(format!("libnftnl does not take {name}"));
            }
        }
        Ok(object)
    }

    /// Gives it a part.
    pub(super) fn add<P: PartOf<T>>(&mut self, part: Object<P>) {
        // SAFETY: both live, and from here on this frees the part.
        unsafe { P::give(self.0.as_ptr(), part.0.as_ptr()) };
        std::mem::forget(part);
    }
}

impl<T: Kind> Drop for Object<T> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, and given to no other object.
        unsafe { T::free(self.0.as_ptr()) };
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
            unsafe { T::write(message, object.0.as_ptr()) };
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
kind!(nftnl_set_elem, |_| unsafe { sys::nftnl_set_elem_alloc() }, nftnl_set_elem_free, nftnl_set_elem_set);
#[cfg(test)]
part!(nftnl_set_elem of nftnl_set, nftnl_set_elem_add);

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
        assert!(Expression::new(c"numgen", attributes.clone()).is_ok());
        let unknown = Attribute { number: 40, name: "NFTNL_EXPR_NG_SEED" };
        attributes.push((unknown, 1_u32.bytes()));
        let error = Expression::new(c"numgen", attributes).err().unwrap();
        assert_eq!(error, "libnftnl does not take NFTNL_EXPR_NG_SEED");
    }
}
