//! A socket to the subsystems of nfnetlink: requests and their replies.

use std::{
    ffi::c_int,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use mnl::{Bus, Socket};
use rustix::{
    io::{Errno, FdFlags},
    net::{RecvFlags, sockopt},
};

use super::{
    Error,
    attributes::{Attributes, Message, Messages, u32_at},
    libnftnl::{borrow, set_option},
    uapi::{
        HEADER, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
        NLMSG_ERROR, NLMSGERR_ATTR_MSG, NLMSGERR_ATTR_OFFS,
    },
    wire,
};

const SOL_NETLINK: c_int = 270;
const NETLINK_ADD_MEMBERSHIP: c_int = 1;
const NETLINK_DROP_MEMBERSHIP: c_int = 2;
const NETLINK_CAP_ACK: c_int = 10;
const NETLINK_EXT_ACK: c_int = 11;
const SOL_SOCKET: c_int = 1;
const SO_SNDBUFFORCE: c_int = 32;

/// Room for the replies to a large batch; what does not fit is lost.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Longest datagram that the kernel makes of a dump (32 KiB), with room to spare.
const DATAGRAM: usize = 64 << 10;
/// The kernel answers within the system call, so that waiting this long means that a reply was lost.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What the kernel keeps of a send buffer for itself (`netlink_sendmsg`).
const SEND_OVERHEAD: usize = 32;

/// What the kernel says of one message that it refused, or acknowledged with error number zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The message's sequence number.
    pub sequence: u32,
    /// The error number; zero acknowledges.
    pub errno: i32,
    /// Offset in the message of the attribute at fault.
    pub offset: Option<u32>,
    /// Explanation.
    pub reason: Option<String>,
}

impl Reply {
    /// Reads a message of type `NLMSG_ERROR`: the error number, the header of the message that it is about
    /// (all of the message, unless the kernel honours `NETLINK_CAP_ACK`), and attributes.
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
            offset: attributes
                .find(NLMSGERR_ATTR_OFFS)
                .and_then(|offset| Some(u32::from_ne_bytes(offset.value.try_into().ok()?))),
            reason: attributes.find(NLMSGERR_ATTR_MSG).and_then(|reason| reason.string()).map(str::to_owned),
        })
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With all of its replies.
    Complete,
    /// With all of them, while a ruleset of this namespace changed.
    Interrupted,
    /// Without some of them.
    Incomplete,
    /// There is no such object.
    Absent,
}

/// What came from [`Connection::receive`].
pub(crate) enum Received {
    /// Bytes of this number in the buffer.
    Bytes(usize),
    /// Nothing is there.
    Nothing,
    /// Something was lost, for want of room in the socket's buffer.
    Lost,
}

/// Has a socket join a multicast group, or leave it.
pub(super) fn set_member(fd: BorrowedFd<'_>, group: u32, member: bool) -> Result<(), Error> {
    let option = if member { NETLINK_ADD_MEMBERSHIP } else { NETLINK_DROP_MEMBERSHIP };
    set_option(fd, SOL_NETLINK, option, group.cast_signed())
        .map_err(Error::io("cannot set what a netlink socket listens to"))
}

/// A socket to `nf_tables`, or to another subsystem of nfnetlink.
pub(crate) struct Connection {
    socket: Socket,
    /// Sequence number of the last request.
    sequence: u32,
    buffer: Vec<u8>,
    /// Longest datagram that the socket may send.
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
        rustix::io::fcntl_setfd(borrow(&socket), FdFlags::CLOEXEC)
            .map_err(Error::io("cannot set a netlink socket's flags"))?;
        for option in [NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            set_option(borrow(&socket), SOL_NETLINK, option, 1)
                .map_err(Error::io("cannot set a netlink socket's option"))?;
        }
        let fd = borrow(&socket);
        if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)
                .map_err(Error::io("cannot set a netlink socket's receive buffer"))?;
        }
        sockopt::set_socket_timeout(fd, sockopt::Timeout::Recv, Some(TIMEOUT))
            .map_err(Error::io("cannot set a netlink socket's timeout"))?;
        let limit = sockopt::socket_send_buffer_size(fd)
            .map_err(Error::io("cannot read a netlink socket's send buffer"))?
            .saturating_sub(SEND_OVERHEAD);
        Ok(Self { socket, sequence: 0, buffer: vec![0; DATAGRAM], limit })
    }

    /// The socket's address: by it the kernel knows who owns a table.
    pub(crate) fn port(&self) -> u32 {
        self.socket.portid()
    }

    /// Sends one datagram; makes the send buffer large enough.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
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
        // The kernel doubles the number, which leaves room for its own structures.
        let forced = c_int::try_from(wanted)
            .is_ok_and(|wanted| set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, wanted).is_ok());
        if !forced {
            sockopt::set_socket_send_buffer_size(fd, wanted)
                .map_err(Error::io("cannot set a netlink socket's send buffer"))?;
        }
        self.limit = sockopt::socket_send_buffer_size(fd)
            .map_err(Error::io("cannot read a netlink socket's send buffer"))?
            .saturating_sub(SEND_OVERHEAD);
        if bytes > self.limit { Err(Error::TooLarge { bytes, limit: self.limit }) } else { Ok(()) }
    }

    /// Receives one datagram into the buffer; without waiting, unless told to.
    pub(crate) fn receive(&mut self, wait: bool) -> Result<Received, Error> {
        let flags = RecvFlags::TRUNC | if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        loop {
            let Self { socket, buffer, .. } = self;
            match rustix::net::recv(borrow(socket), &mut buffer[..], flags) {
                Ok((_, length)) if length > self.buffer.len() => return Ok(Received::Lost),
                Ok((_, length)) => return Ok(Received::Bytes(length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::NOBUFS) => return Ok(Received::Lost),
                Err(error) => return Err(Error::io("cannot receive from the kernel")(error)),
            }
        }
    }

    /// The messages of a datagram that [`Self::receive`] has received.
    pub(crate) fn messages(&self, length: usize) -> Messages<'_> {
        Messages(self.buffer.get(..length).unwrap_or_default())
    }

    /// A sequence number for a request of one's own.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Throws away replies that nobody waited for.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        while !matches!(self.receive(false)?, Received::Nothing) {}
        Ok(())
    }

    /// Asks `nf_tables` for one object, or with `dump` for all of them, and hands each reply to `read`.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        family: u8,
        dump: bool,
        attributes: &[(u16, &str)],
        mut read: impl FnMut(&Message<'_>),
    ) -> Result<Outcome, Error> {
        let write = |request: &mut Vec<u8>| {
            for (kind, value) in attributes {
                wire::string(request, *kind, value);
            }
        };
        let read = |message: &Message<'_>| {
            read(message);
            ControlFlow::Continue(())
        };
        self.ask(wire::nf_tables(kind), family, dump, write, read)
    }

    /// Asks a subsystem of nfnetlink, with the attributes that `write` appends, for one object or with `dump`
    /// for all of them, and hands each reply to `read` until that has enough, which makes the outcome incomplete: the
    /// kernel goes on with what it was asked for, and the socket is of no use then.
    pub(crate) fn ask(
        &mut self,
        kind: u16,
        family: u8,
        dump: bool,
        write: impl FnOnce(&mut Vec<u8>),
        mut read: impl FnMut(&Message<'_>) -> ControlFlow<()>,
    ) -> Result<Outcome, Error> {
        self.drain()?;
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
            for message in self.messages(length) {
                if message.sequence != sequence {
                    continue;
                }
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    outcome = Outcome::Interrupted;
                }
                match message.kind {
                    NLMSG_ERROR => return refusal(&message),
                    NLMSG_DONE => return Ok(outcome),
                    answer if answer >> 8 == kind >> 8 => {
                        if read(&message).is_break() {
                            return Ok(Outcome::Incomplete);
                        }
                        if !dump {
                            return Ok(outcome);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
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
