//! Servers that answer with their name and the address of the client, and clients that report the outcome.
//!
//! The protocol is one line: a server answers a connection, or a datagram, with its name and the
//! source address that it saw, `web-1 10.128.1.2 41234`. A TCP connection stays open after that and echoes lines.

mod answer;
mod client;
mod connection;
mod flows;
mod responder;
mod sctp;
mod server;

pub use self::{
    answer::Answer,
    client::Client,
    connection::Connection,
    flows::{Bursts, Failure, Fate, Flows, Tally},
    responder::Responder,
    server::Server,
};

/// A transport protocol of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, by raw packets: the kernel need not have SCTP sockets.
    Sctp,
}

impl Protocol {
    /// The name of the protocol in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
