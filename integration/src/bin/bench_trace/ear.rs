//! Detects when a change that was written is in the kernel.
//!
//! Besides the trace, an unrelated slice is written every few milliseconds: that of one of many Services, whose
//! only endpoint differs each time. Events of a kind arrive in order, so such a slice takes as long to reach the kernel
//! as the slices written at the same moment, and its element identifies it.

use std::{
    fs::File,
    net::Ipv4Addr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
};
use portolan::kernel::nftables::{self, Monitor};
use portolan_integration::{Family, Namespace, Protocol, Service, Slice};
use serde_json::{Value, json};

use super::Result;

/// The number of such Services: each is written again only once the kernel has the previous slice, unless that takes
/// ten seconds.
const SERVICES: u16 = 1_024;
/// The time between two of these slices.
const PERIOD: Duration = Duration::from_millis(10);
/// The first two bytes of their `ClusterIP`s.
const NETWORK: [u8; 2] = [10, 95];
/// How long the listener sleeps at most.
const NAP: u16 = 50;

/// An event in the kernel.
enum Heard {
    /// The slice of this Service was committed, at this moment.
    Committed(u16, Instant),
    /// The kernel has dropped notifications.
    Lost,
}

/// Services to listen for, and when they were written.
pub struct Ear {
    heard: Receiver<Heard>,
    written: Vec<Option<Instant>>,
    next: u32,
    last: Option<Instant>,
    lost: usize,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The Services, and a slice of each.
pub fn objects() -> impl Iterator<Item = Value> {
    (0..SERVICES).flat_map(|number| {
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::from([NETWORK[0], NETWORK[1], high, low]);
        let service = Service::new(&name(number), [address.into()]).port("http", Protocol::Tcp, 80);
        [service.object(), slice(number, 0)]
    })
}

fn name(number: u16) -> String {
    format!("pace-{number}")
}

fn slice(number: u16, round: u8) -> Value {
    let [high, low] = number.to_be_bytes();
    let mut slice = Slice::new(&name(number), Family::V4).port("http", Protocol::Tcp, 8080).object();
    slice["endpoints"] = json!([{
        "addresses": [Ipv4Addr::new(10, 56 + round % 2, high, low)],
        "conditions": {"ready": true, "serving": true, "terminating": false},
    }]);
    slice
}

impl Ear {
    /// Listens in a network namespace.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let node = File::open(namespace.path())?;
        let ended = Arc::new(AtomicBool::new(false));
        let (opened, is_open) = channel();
        let (say, heard) = channel();
        let listen = {
            let ended = ended.clone();
            move || {
                // A socket listens in the namespace in which its thread opened it.
                let monitor = setns(node, CloneFlags::CLONE_NEWNET)
                    .map_err(|error| error.to_string())
                    .and_then(|()| Monitor::open("portolan").map_err(|error| error.to_string()));
                let mut monitor = match monitor {
                    Ok(monitor) => monitor,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                let _ = opened.send(Ok(()));
                let mut touched = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    match monitor.receive() {
                        Ok(Some(event)) if event.generation.is_some() => {
                            let at = Instant::now();
                            touched.dedup();
                            if touched.drain(..).any(|number| say.send(Heard::Committed(number, at)).is_err())
                            {
                                return;
                            }
                        }
                        Ok(Some(event)) => touched.extend(event.keys.iter().filter_map(|key| {
                            let [a, b, high, low, ..] = key.as_bytes() else { return None };
                            ([*a, *b] == NETWORK).then(|| u16::from_be_bytes([*high, *low]))
                        })),
                        Ok(None) => {
                            // Wakes up for a notification, or after a while to check whether it should end.
                            let _ = poll(
                                &mut [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)],
                                PollTimeout::from(NAP),
                            );
                        }
                        Err(nftables::Error::Unknown(_)) => {
                            touched.clear();
                            let _ = say.send(Heard::Lost);
                        }
                        Err(_) => return,
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("ear".into()).spawn(listen)?;
        is_open.recv()??;
        let written = vec![None; SERVICES.into()];
        Ok(Self { heard, written, next: 0, last: None, lost: 0, ended, thread: Some(thread) })
    }

    /// The next slice to write, if one is due.
    pub fn slice(&mut self) -> Option<Value> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + PERIOD) {
            return None;
        }
        self.last = Some(now);
        let number = (self.next % u32::from(SERVICES)) as u16;
        let round = self.next / u32::from(SERVICES) + 1;
        self.next += 1;
        self.written[usize::from(number)] = Some(now);
        Some(slice(number, round as u8))
    }

    /// The times of the slices that were committed since the last call.
    pub fn lags(&mut self) -> Vec<Duration> {
        let mut lags = Vec::new();
        for heard in self.heard.try_iter() {
            match heard {
                Heard::Committed(number, at) => {
                    let written = self.written.get_mut(usize::from(number)).and_then(Option::take);
                    lags.extend(written.map(|written| at.saturating_duration_since(written)));
                }
                // It is unknown which of them were committed.
                Heard::Lost => self.lost += self.written.iter_mut().filter_map(Option::take).count(),
            }
        }
        lags
    }

    /// How many slices are not in the kernel yet, as far as is known.
    pub fn missing(&self) -> usize {
        self.written.iter().flatten().count()
    }

    /// How many slices have an unknown time.
    pub const fn lost(&self) -> usize {
        self.lost
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread returns nothing.
            let _ = thread.join();
        }
    }
}
