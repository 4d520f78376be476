//! A TCP connection that stays open.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::Answer;

/// An open connection to a server of the lab; it exchanges lines until it is dropped.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    answer: Answer,
}

impl Connection {
    /// Reads the server's greeting.
    pub(super) fn new(stream: TcpStream, limit: Duration) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        let mut greeting = Vec::new();
        reader.read_until(b'\n', &mut greeting)?;
        Ok(Self { reader, answer: Answer::parse(&greeting) })
    }

    /// The server's greeting: its name, and the client's address as the server saw it.
    pub fn answer(&self) -> &Answer {
        &self.answer
    }

    /// The local address and port of the connection.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.reader.get_ref().local_addr()
    }

    /// Sends a line and checks that it is echoed.
    ///
    /// # Errors
    /// If the connection broke, the time limit passed, or another line came back.
    pub fn exchange(&mut self, words: &str) -> std::io::Result<()> {
        writeln!(self.reader.get_mut(), "{words}")?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        if line.trim_end() == words {
            return Ok(());
        }
        Err(std::io::Error::other(format!("sent {words:?}, got {line:?}")))
    }
}
