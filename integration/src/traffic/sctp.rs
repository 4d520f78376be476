//! SCTP without SCTP sockets: raw packets of one chunk, after RFC 9260.
//!
//! A probe is an INIT; the server answers with an INIT ACK whose last parameter carries its greeting.
//! Address translation handles the ports and the checksum of these packets as of any others.

use std::{
    io::{Error, ErrorKind, Read},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU16, Ordering},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::Answer;
use crate::Namespace;

/// The IP protocol number (IANA: SCTP).
pub(super) const PROTOCOL: i32 = 132;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// A parameter type with high bits by which receivers that do not know the type skip the parameter (RFC 9260 §3.2.1).
const GREETING: u16 = 0xbeef;
const VERIFICATION_TAG: u32 = 0x706f_7274;

static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

struct Packet<'a> {
    source: u16,
    destination: u16,
    kind: u8,
    greeting: &'a [u8],
}

impl<'a> Packet<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, chunk) = bytes.split_first_chunk::<12>()?;
        let [s0, s1, d0, d1, ..] = *header;
        let kind = *chunk.first()?;
        // Chunk header, then the fixed part of INIT and INIT ACK, then our parameter's header.
        let parameter = chunk.get(20..)?;
        let greeting = match parameter.split_first_chunk::<4>() {
            Some(([t0, t1, l0, l1], rest)) if u16::from_be_bytes([*t0, *t1]) == GREETING => {
                rest.get(..usize::from(u16::from_be_bytes([*l0, *l1])).checked_sub(4)?)?
            }
            _ => &[],
        };
        Some(Self {
            source: u16::from_be_bytes([s0, s1]),
            destination: u16::from_be_bytes([d0, d1]),
            kind,
            greeting,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut chunk = Vec::from(VERIFICATION_TAG.to_be_bytes());
        chunk.extend(65_536_u32.to_be_bytes()); // receiver window
        chunk.extend([0, 1, 0, 1]); // outbound and inbound streams
        chunk.extend(1_u32.to_be_bytes()); // initial TSN
        if !self.greeting.is_empty() {
            chunk.extend(GREETING.to_be_bytes());
            chunk.extend((self.greeting.len() as u16 + 4).to_be_bytes());
            chunk.extend(self.greeting);
        }
        let length = chunk.len() as u16 + 4;
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        let tag = if self.kind == INIT { 0 } else { VERIFICATION_TAG };
        let mut packet = Vec::from(self.source.to_be_bytes());
        packet.extend(self.destination.to_be_bytes());
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend([self.kind, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend(chunk);
        let checksum = crc32c(&packet).to_le_bytes();
        if let Some(field) = packet.get_mut(8..12) {
            field.copy_from_slice(&checksum);
        }
        packet
    }
}

/// CRC-32C, the checksum of SCTP (RFC 9260 appendix A), bit by bit: packets here are few and short.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// The SCTP packet in the bytes that a raw socket received: IPv4 sockets include the IP header, IPv6 sockets do not.
fn payload(bytes: &[u8], v6: bool) -> Option<&[u8]> {
    if v6 { Some(bytes) } else { bytes.get(usize::from(bytes.first()? & 0xf) * 4..) }
}

/// Answers INITs to `address`'s port until stopped.
pub(super) fn serve(socket: &Socket, address: SocketAddr, name: &str, stopped: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !stopped.load(Ordering::Relaxed) {
        // The source address of a packet is in its header only for IPv4, so it is read from the socket
        // with the standard library's UDP receiver: raw and UDP sockets behave the same here.
        let Ok(datagrams) = socket.try_clone().map(std::net::UdpSocket::from) else { return };
        let Ok((length, peer)) = datagrams.recv_from(&mut buffer) else { continue };
        let bytes = buffer.get(..length).and_then(|bytes| payload(bytes, address.is_ipv6()));
        let Some(packet) = bytes.and_then(Packet::parse) else { continue };
        if packet.kind == INIT && packet.destination == address.port() {
            let seen = SocketAddr::new(peer.ip(), packet.source);
            let greeting = Answer::line(name, seen);
            let answer = Packet {
                source: packet.destination,
                destination: packet.source,
                kind: INIT_ACK,
                greeting: greeting.as_bytes(),
            };
            // A client that is gone does not receive the answer.
            let _ = socket.send_to(&answer.bytes(), &SocketAddr::new(peer.ip(), 0).into());
        }
    }
}

/// Sends one INIT and waits for the INIT ACK, or for the error that a connected raw socket reports.
pub(super) fn probe(
    namespace: &Namespace,
    source: Option<SocketAddr>,
    target: SocketAddr,
    limit: Duration,
) -> std::io::Result<Answer> {
    let mut socket = namespace.socket(Domain::for_address(target), Type::RAW, Some(PROTOCOL))?;
    let without_port = |address: IpAddr| SocketAddr::new(address, 0).into();
    let port = source.map_or(0, |source| source.port());
    let port = if port == 0 { 32_768 + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 28_000 } else { port };
    if let Some(source) = source {
        socket.bind(&without_port(source.ip()))?;
    }
    socket.connect(&without_port(target.ip()))?;
    socket.set_read_timeout(Some(limit))?;
    let init = Packet { source: port, destination: target.port(), kind: INIT, greeting: &[] };
    match socket.send(&init.bytes()) {
        // As for UDP: the local process's own packet was rejected, and the actual reason follows.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
        sent => drop(sent?),
    }
    let start = Instant::now();
    let mut buffer = [0; 2048];
    while start.elapsed() < limit {
        let length = socket.read(&mut buffer)?;
        let bytes = buffer.get(..length).and_then(|bytes| payload(bytes, target.is_ipv6()));
        if let Some(packet) = bytes.and_then(Packet::parse)
            && packet.kind == INIT_ACK
            && packet.destination == port
        {
            return Ok(Answer::parse(packet.greeting));
        }
    }
    Err(Error::from(ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // RFC 3720 appendix B.4: 32 bytes of zeros.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_packet_reads_as_it_was_written() {
        let bytes = Packet { source: 7, destination: 9, kind: INIT_ACK, greeting: b"web" }.bytes();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.source, packet.destination, packet.kind), (7, 9, INIT_ACK));
        assert_eq!(packet.greeting, b"web");
    }
}
