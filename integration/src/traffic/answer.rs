//! The outcome of a probe.

use std::{
    fmt,
    io::{Error, ErrorKind},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The outcome of a client's probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A server answered.
    Served {
        /// The server's name.
        server: String,
        /// The source address and port that the server saw.
        seen: SocketAddr,
    },
    /// ECONNREFUSED: a TCP reset, or an ICMP error for the other protocols.
    Refused {
        /// How long the refusal took.
        after: Duration,
        /// Whether the request was retransmitted in the meantime, so that the refusal may be of the retransmission.
        repeated: bool,
    },
    /// An ICMP error reported that there is no route to the destination.
    Unreachable,
    /// Nothing came back within the probe's time limit.
    TimedOut,
    /// Another outcome: the error, or a malformed answer.
    Broken(String),
}

impl Answer {
    /// The name of the server, if one answered.
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Served { server, .. } => Some(server),
            _ => None,
        }
    }

    /// The source address that the server saw, if one answered.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Served { seen, .. } => Some(seen.ip()),
            _ => None,
        }
    }

    /// Whether the connection was refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The line that a server writes: its name and the client's address.
    pub(super) fn line(server: &str, seen: SocketAddr) -> String {
        format!("{server} {} {}\n", seen.ip().to_canonical(), seen.port())
    }

    /// Parses the line that [`Answer::line`] wrote.
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let mut words = text.split_whitespace();
        let mut next = || words.next();
        if let (Some(server), Some(ip), Some(port), None) = (next(), next(), next(), next())
            && let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse())
        {
            return Self::Served { server: server.into(), seen: (ip, port).into() };
        }
        Self::Broken(format!("answered {text:?}"))
    }

    pub(super) fn from_error(error: &Error, after: Duration, repeated: bool) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused { after, repeated },
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::TimedOut,
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Self::Unreachable,
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served { server, seen } => write!(f, "served by {server}, which saw {seen}"),
            Self::Refused { after, repeated: false } => write!(f, "refused after {after:?}"),
            Self::Refused { after, repeated: true } => write!(f, "refused after {after:?} and a repetition"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}
