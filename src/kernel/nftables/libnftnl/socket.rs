//! What the crate `mnl` lacks of a socket.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nftnl_sys::libc;

/// The file descriptor of a socket.
pub(in crate::kernel::nftables) fn borrow(socket: &mnl::Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket is open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Sets an integer option of a socket.
pub(in crate::kernel::nftables) fn set_option(
    socket: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    set(socket, level, name, &value)
}

/// Has the kernel run a classic BPF program on each datagram for a socket, and drop those for which it returns zero
/// (`SO_ATTACH_FILTER`). It replaces the one before.
pub(in crate::kernel::nftables) fn attach_filter(
    socket: BorrowedFd<'_>,
    program: &[libc::sock_filter],
) -> io::Result<()> {
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
