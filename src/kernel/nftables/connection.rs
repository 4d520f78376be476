//! A netlink socket to the subsystems of nfnetlink: sends requests and reads the replies.

use std::{
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use mnl::{Bus, Socket};
use rustix::{
    io::{Errno, FdFlags, retry_on_intr},
    net::{RecvFlags, sockopt},
};

use super::{
    attributes::{Attributes, Message, Messages, u32_at},
    error::Error,
    libnftnl::{borrow, set_option},
    uapi::*,
    wire,
};

/// Size of the receive buffer: room for the replies to a large batch. Replies that do not fit are lost.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Longest datagram that the kernel makes of a dump (32 KiB), with room to spare.
const DATAGRAM: usize = 64 << 10;
/// The kernel answers within the system call. If no reply arrives within this time, it was lost.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of the send buffer that the kernel reserves (`netlink_sendmsg`).
const SEND_OVERHEAD: usize = 32;

/// The kernel's reply to one message that it refused, or acknowledged with error number zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The message's sequence number.
    pub sequence: u32,
    /// The error number; zero is an acknowledgement.
    pub errno: i32,
    /// Offset of the faulty attribute in the message.
    pub offset: Option<u32>,
    /// The kernel's explanation (`NLMSGERR_ATTR_MSG`).
    pub reason: Option<String>,
}

impl Reply {
    /// Reads a message of type `NLMSG_ERROR`: the error number, the header of the message that it refers to
    /// (the whole message if the kernel does not honour `NETLINK_CAP_ACK`), and attributes.
    pub(crate) fn read(message: &Message<'_>) -> Option<Self> {
        if message.kind != NLMSG_ERROR {
            return None;
        }
        let errno = u32_at(message.payload, 0)?.cast_signed().checked_neg()?;
        let length = u32_at(message.payload, 4)? as usize;
        let echoed = if message.flags & NLM_F_CAPPED != 0 { HEADER } else { length.max(HEADER) };
        let attributes = match message.payload.get(4 + echoed.next_multiple_of(4)..) {
            Some(rest) if message.flags & NLM_F_ACK_TLVS != 0 => Attributes(rest),
            _ => Attributes(&[]),
        };
        Some(Self {
            sequence: message.sequence,
            errno,
            offset: attributes.find(NLMSGERR_ATTR_OFFS).and_then(|offset| u32_at(offset.value, 0)),
            reason: attributes.string(NLMSGERR_ATTR_MSG).map(str::to_owned),
        })
    }

    /// The error for a batch that was refused because of this operation.
    pub(super) fn error(&self, operation: Option<usize>) -> Error {
        match Errno::from_raw_os_error(self.errno) {
            Errno::PERM => Error::Permission,
            Errno::INTR => Error::Unknown("interrupted".to_owned()),
            errno => Error::Refused { operation, errno, reason: self.reason.clone() },
        }
    }
}

/// All of the kernel's replies to a datagram.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// Whether it acknowledged a message; of a batch, only the end is acknowledged.
    pub acknowledged: bool,
    /// The refusals.
    pub errors: Vec<Reply>,
    /// Whether some replies were lost.
    pub lost: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All replies were received.
    Complete,
    /// All replies were received, but a ruleset of this namespace changed meanwhile.
    Interrupted,
    /// Some replies are missing.
    Incomplete,
    /// The object does not exist.
    Absent,
}

/// The result of [`Connection::receive`].
pub(crate) enum Received {
    /// A datagram of this length is in the buffer.
    Bytes(usize),
    /// No datagram was available.
    Nothing,
    /// A datagram was lost, because the socket's buffer was full.
    Lost,
}

/// Makes a socket join the multicast group of `nf_tables`, or leave it.
pub(super) fn set_member(fd: BorrowedFd<'_>, member: bool) -> Result<(), Error> {
    let option = if member { NETLINK_ADD_MEMBERSHIP } else { NETLINK_DROP_MEMBERSHIP };
    set_option(fd, SOL_NETLINK, option, NFNLGRP_NFTABLES)
        .map_err(Error::io("cannot change the subscription of a netlink socket"))
}

/// A socket to `nf_tables`, or to another subsystem of nfnetlink.
pub(crate) struct Connection {
    socket: Socket,
    /// Sequence number of the last request.
    sequence: u32,
    buffer: Vec<u8>,
    /// Longest datagram that the socket may send, in bytes.
    limit: usize,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(&self.socket)
    }
}

impl Connection {
    /// Opens a socket.
    pub(crate) fn open() -> Result<Self, Error> {
        let socket = Socket::open(Bus::Netfilter).map_err(Error::io("cannot open a netlink socket"))?;
        socket.bind(0, 0).map_err(Error::io("cannot bind a netlink socket"))?;
        let fd = borrow(&socket);
        let limit = Self::configure(fd).map_err(Error::io("cannot configure a netlink socket"))?;
        Ok(Self { socket, sequence: 0, buffer: vec![0; DATAGRAM], limit })
    }

    /// Sets a socket's options. Returns the longest datagram that it may send, in bytes.
    fn configure(fd: BorrowedFd<'_>) -> std::io::Result<usize> {
        rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC)?;
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            set_option(fd, SOL_NETLINK, option, 1)?;
        }
        if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
        }
        sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        send_limit(fd)
    }

    /// The socket's netlink address, by which the kernel identifies the owner of a table.
    pub(crate) fn port(&self) -> u32 {
        self.socket.portid()
    }

    /// Sends one datagram, after enlarging the send buffer if necessary. Replies to earlier datagrams are discarded.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.drain()?;
        if bytes.len() > self.limit {
            self.widen(bytes.len())?;
        }
        match self.socket.send(bytes) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(sent) => Err(Error::Unknown(format!("{sent} of {} bytes sent", bytes.len()))),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                Err(Error::Unknown("interrupted while sending".to_owned()))
            }
            Err(error) => Err(Error::io("cannot send to the kernel")(error)),
        }
    }

    fn widen(&mut self, bytes: usize) -> Result<(), Error> {
        let fd = borrow(&self.socket);
        let wanted = bytes + SEND_OVERHEAD;
        // The kernel doubles the size, to leave room for its own structures.
        if sockopt::set_socket_send_buffer_size_force(fd, wanted).is_err() {
            sockopt::set_socket_send_buffer_size(fd, wanted)
                .map_err(Error::io("cannot set a netlink socket's send buffer"))?;
        }
        self.limit = send_limit(fd).map_err(Error::io("cannot read a netlink socket's send buffer"))?;
        if bytes > self.limit { Err(Error::TooLarge { bytes, limit: self.limit }) } else { Ok(()) }
    }

    /// Receives one datagram into the buffer. Waits for one if `wait` is set.
    pub(crate) fn receive(&mut self, wait: bool) -> Result<Received, Error> {
        let flags = RecvFlags::TRUNC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        let Self { socket, buffer, .. } = self;
        match retry_on_intr(|| rustix::net::recv(borrow(socket), &mut buffer[..], flags)) {
            Ok((_, length)) if length > buffer.len() => Ok(Received::Lost),
            Ok((_, length)) => Ok(Received::Bytes(length)),
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(Errno::NOBUFS) => Ok(Received::Lost),
            Err(error) => Err(Error::io("cannot receive from the kernel")(error)),
        }
    }

    /// The messages of the datagram of this length that [`Self::receive`] put into the buffer.
    pub(crate) fn messages(&self, length: usize) -> Messages<'_> {
        Messages(self.buffer.get(..length).unwrap_or_default())
    }

    /// Calls `read` for each message that has arrived. Returns whether messages were lost.
    pub(crate) fn received(&mut self, mut read: impl FnMut(&Message<'_>)) -> Result<bool, Error> {
        let mut lost = false;
        loop {
            match self.receive(false)? {
                Received::Nothing => return Ok(lost),
                Received::Lost => lost = true,
                Received::Bytes(length) => self.messages(length).for_each(|message| read(&message)),
            }
        }
    }

    /// Discards all messages that have arrived.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        self.received(|_| ()).map(drop)
    }

    /// Sends a datagram and reads all replies. They have arrived when sending returns, since the kernel processes the
    /// datagram within that system call.
    pub(crate) fn execute(&mut self, bytes: &[u8]) -> Result<Replies, Error> {
        self.send(bytes)?;
        let mut replies = Replies::default();
        replies.lost = self.received(|message| match Reply::read(message) {
            Some(reply) if reply.errno != 0 => replies.errors.push(reply),
            reply => replies.acknowledged |= reply.is_some(),
        })?;
        Ok(replies)
    }

    /// Returns a new sequence number for a request.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Requests one object of a subsystem of nfnetlink, or all objects if `dump` is set, with the attributes that
    /// `write` appends, and calls `read` for each reply. If `read` breaks, the outcome is incomplete, and the socket
    /// must not be used again: the kernel continues to send the remaining replies.
    pub(crate) fn ask(
        &mut self,
        kind: c_int,
        family: u8,
        dump: bool,
        write: impl FnOnce(&mut Vec<u8>),
        mut read: impl FnMut(&Message<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        let sequence = self.next_sequence();
        let flags = NLM_F_REQUEST | if dump { NLM_F_DUMP } else { 0 };
        let mut request = Vec::new();
        let start = wire::begin_message(&mut request, kind, flags, sequence, family, 0);
        write(&mut request);
        wire::end_message(&mut request, start);
        self.send(&request)?;
        let mut outcome = Outcome::Complete;
        loop {
            let length = match self.receive(true)? {
                Received::Bytes(length) => length,
                Received::Nothing => return Err(Error::Unknown("no reply to a request".to_owned())),
                Received::Lost => return Ok(Outcome::Incomplete),
            };
            for message in self.messages(length).filter(|message| message.sequence == sequence) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Outcome::Interrupted;
                }
                match message.kind {
                    NLMSG_ERROR => return refusal(&message),
                    NLMSG_DONE => return Ok(outcome),
                    answer if answer >> 8 != kind >> 8 => {}
                    _ if read(&message).is_break() => return Ok(Outcome::Incomplete),
                    _ if !dump => return Ok(outcome),
                    _ => {}
                }
            }
        }
    }
}

/// The longest datagram that a socket may send, in bytes.
fn send_limit(fd: BorrowedFd<'_>) -> std::io::Result<usize> {
    Ok(sockopt::socket_send_buffer_size(fd)?.saturating_sub(SEND_OVERHEAD))
}

fn refusal(message: &Message<'_>) -> Result<Outcome, Error> {
    let Some(reply) = Reply::read(message) else {
        return Err(Error::Unknown("a malformed reply".to_owned()));
    };
    match Errno::from_raw_os_error(reply.errno) {
        Errno::NOENT => Ok(Outcome::Absent),
        Errno::INTR | Errno::AGAIN => Ok(Outcome::Incomplete),
        Errno::PERM => Err(Error::Permission),
        errno => Err(Error::io("the kernel refused to answer")(errno)),
    }
}
