//! What rules cost a connection that is already there: bulk and round trips through the node.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::{Duration, Instant},
};

use socket2::{SockAddr, Socket};

use super::{Result, arena::Arena, variant::Variant};

/// Bytes that are sent before they are received: less than a socket's buffer.
const CHUNK: usize = 128 << 10;
/// How often every ruleset has its turn.
const TURNS: usize = 25;

/// What was measured in one turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Bytes a second, one way.
    pub bytes_per_second: f64,
    /// Microseconds for a byte to the server and one back, the median.
    pub round_trip_us: f64,
}

/// The turns of each ruleset, `time` in all for each. One thread sends and receives, so that a busy machine or a
/// second core changes nothing: what is measured is the processor's work from one end to the other.
pub fn measure(arenas: &[(&Variant, Arena)], time: Duration) -> Result<Vec<Vec<Turn>>> {
    let mut turns = vec![Vec::new(); arenas.len()];
    let time = time / (2 * TURNS as u32);
    for turn in 0..TURNS {
        for place in 0..arenas.len() {
            let i = (place + turn) % arenas.len();
            let (variant, arena) = &arenas[i];
            let mut pair = Pair::open(arena, &variant.target().into())?;
            turns[i]
                .push(Turn { round_trip_us: pair.round_trips(time)?, bytes_per_second: pair.bulk(time)? });
        }
    }
    Ok(turns)
}

/// Both ends of a connection.
struct Pair {
    client: Socket,
    server: Socket,
    buffer: Vec<u8>,
}

impl Pair {
    fn open(arena: &Arena, target: &SockAddr) -> Result<Self> {
        arena.enter()?;
        let (client, server) = arena.pair(target)?;
        for socket in [&client, &server] {
            socket.set_tcp_nodelay(true)?;
            socket.set_send_buffer_size(4 * CHUNK)?;
            socket.set_recv_buffer_size(4 * CHUNK)?;
        }
        server.set_nonblocking(true)?;
        Ok(Self { client, server, buffer: vec![0; CHUNK] })
    }

    fn bulk(&mut self, time: Duration) -> Result<f64> {
        let (start, mut bytes) = (Instant::now(), 0);
        while start.elapsed() < time {
            let sent = self.client.write(&self.buffer)?;
            self.receive(sent)?;
            bytes += sent;
        }
        Ok(bytes as f64 / start.elapsed().as_secs_f64())
    }

    fn round_trips(&mut self, time: Duration) -> Result<f64> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let begun = Instant::now();
            self.client.write_all(&[0])?;
            self.receive(1)?;
            self.server.write_all(&[0])?;
            self.client.read_exact(&mut [0])?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        Ok(times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6))
    }

    /// Takes what was sent; it is there when write(2) returns, except on a busy machine.
    fn receive(&mut self, mut count: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while count > 0 {
            let wanted = count.min(self.buffer.len());
            match self.server.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Err("an established connection ended".into()),
                Ok(received) => count -= received,
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                Err(error) => return Err(format!("on an established connection: {error}").into()),
            }
        }
        Ok(())
    }
}
