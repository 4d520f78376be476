//! The time to undo another process's change to one element.

use std::{
    io::Write as _,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::mpsc::{Receiver as Channel, channel},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portolan::{
    agent::{Agent, Event, Receiver, queue},
    kernel::nftables::{Kernel, Monitor},
    observe::{health::Health, report::Cause},
};
use portolan_integration::synthetic::{Kinds, PORT, Synthetic};

use super::{
    Result,
    arena::{fresh_kernel, retire},
    figure::Figure,
    neighbour::agent,
    rows::Unit,
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

/// The row of one element deleted, overwritten and added.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let synthetic = Synthetic::new(services, Kinds::Plain);
    let mut agent = agent(&synthetic, 0..services, fresh_kernel()?);
    agent.sync()?;
    let (sender, inbox) = queue(Health::default());
    agent.listen(sender)?;
    let heard = listen()?;
    let frontend = format!("{} . tcp . {PORT}", synthetic.cluster_ip(services / 2));
    let endpoint = format!("element ip portolan endpoints {{ {frontend} . 0:2");
    let mut times = Vec::new();
    for commands in [
        format!("delete {endpoint} }}\n"),
        format!("delete {endpoint} }}\nadd {endpoint} : 192.0.2.7 . 7 }}\n"),
        "add element ip portolan frontends { 192.0.2.99 . tcp . 80 : 0:1 }\n".to_owned(),
    ] {
        times.push(repaired(&mut agent, &inbox, &heard, &commands)?);
    }
    drop(agent);
    retire(Kernel::open()?)?;
    let each = times.iter().map(|time| Unit::Time.show(time.as_secs_f64())).collect::<Vec<_>>().join(", ");
    let worst = times.into_iter().max().unwrap_or_default();
    Ok(vec![Figure::new("repair", worst.as_secs_f64()).with(each)])
}

/// Makes nft run these commands; returns the time from its commit to the agent's commit.
fn repaired(
    agent: &mut Agent,
    inbox: &Receiver,
    heard: &Channel<(Instant, bool)>,
    commands: &str,
) -> Result<Duration> {
    while heard.try_recv().is_ok() {}
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    nft.stdin.take().ok_or("nft has no standard input")?.write_all(commands.as_bytes())?;
    let mut broken = None;
    let took = loop {
        for event in inbox.recv_timeout(LIMIT).map_err(|_| "no change was noticed")? {
            if let Event::Foreign(change) = event {
                agent.foreign(change);
            }
        }
        agent.sync_for(Cause::Repair)?;
        let last = std::iter::from_fn(|| heard.recv_timeout(Duration::from_millis(100)).ok());
        let mut mended = None;
        for (at, by_nft) in last {
            if by_nft { broken = Some(at) } else { mended = Some(at) }
        }
        if let (Some(broken), Some(mended)) = (broken, mended) {
            break mended.saturating_duration_since(broken);
        }
    };
    if !nft.wait()?.success() {
        return Err("nft failed".into());
    }
    Ok(took)
}

/// Reports the time of every commit, and whether nft made it.
fn listen() -> Result<Channel<(Instant, bool)>> {
    let (say, heard) = channel();
    let (opened, is_open) = channel();
    // A thread starts in the namespace of the thread that spawns it. It ends with the process.
    std::thread::spawn(move || {
        let mut monitor = match Monitor::open("portolan") {
            Ok(monitor) => monitor,
            Err(error) => return drop(opened.send(Err(error.to_string()))),
        };
        let _ = opened.send(Ok(()));
        loop {
            match monitor.receive() {
                Ok(Some(event)) => {
                    let by_nft = event.generation.map(|generation| generation.process == "nft");
                    if by_nft.is_some_and(|by_nft| say.send((Instant::now(), by_nft)).is_err()) {
                        return;
                    }
                }
                Ok(None) => {
                    let _ = poll(&mut [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                }
                Err(_) => return,
            }
        }
    });
    is_open.recv()??;
    Ok(heard)
}
