//! The cost of rules to an established connection: bulk transfers and round trips through the node.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    time::{Duration, Instant},
};

use socket2::{SockAddr, Socket};

use super::{Result, arena::Arena, variant::Variant};

/// Bytes that are sent before any are received: less than a socket's buffer.
const CHUNK: u32 = 128 << 10;
/// How often every ruleset has a turn.
const TURNS: usize = 25;

/// The figures of one turn.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Bytes a second, one way.
    pub bytes_per_second: f64,
    /// Microseconds for a byte to the server and one back: the median.
    pub round_trip_us: f64,
}

/// The turns of each ruleset, taking `time` in total for each ruleset. One thread sends and receives, so that a busy
/// machine or a second core makes no difference: only the CPU work from one end to the other is measured.
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
            socket.set_send_buffer_size(4 * CHUNK as usize)?;
            socket.set_recv_buffer_size(4 * CHUNK as usize)?;
        }
        server.set_nonblocking(true)?;
        Ok(Self { client, server, buffer: vec![0; CHUNK as usize] })
    }

    /// Bytes a second, from the median time of a chunk: other work on the machine delays some chunks.
    fn bulk(&mut self, time: Duration) -> Result<f64> {
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            let begun = Instant::now();
            self.client.write_all(&self.buffer)?;
            self.receive(self.buffer.len())?;
            times.push(begun.elapsed());
        }
        Ok(f64::from(CHUNK) / median(times).as_secs_f64())
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
        Ok(median(times).as_secs_f64() * 1e6)
    }

    /// Receives what was sent; it has arrived when write(2) returns, except on a busy machine.
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

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
