//! The reconciler while another process changes its own tables, and the time of a full comparison.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portolan::{
    agent::{Agent, Event, Receiver, queue},
    config::settings::{DetectLocal, Settings},
    kernel::nftables::{Kernel, Tables},
    observe::{events::Recorder, health::Health, metrics::Metrics, report::Cause},
    source::Change,
};
use portolan_integration::synthetic::{Kinds, Synthetic, service_name};
use portolan_rules::{
    plane::Config,
    ruleset::{Concat, DataType, Element, Family, Operation, Set, Transaction, Value},
};

use super::{
    Result,
    arena::{best, fresh_kernel, percentile, retire, swap},
    figure::Figure,
};

const ROUNDS: usize = 3;
/// How long changes are made while the neighbour is active.
const LONG: Duration = Duration::from_secs(6);
/// From the end of one change to the next.
const PAUSE: Duration = Duration::from_millis(3);
/// Elements that the neighbour loads and deletes at once.
const ELEMENTS: u32 = 200_000;

/// The rows of a full comparison, and of changes while a neighbour is active.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let synthetic = Synthetic::new(services, Kinds::Plain);
    let mut agent = agent(&synthetic, 0..services, fresh_kernel()?);
    let (mut read, mut parts) = (Vec::new(), Vec::new());
    agent.sync()?;
    for _ in 0..ROUNDS {
        read.push(compare(&mut agent, &mut parts)?);
    }
    let health = Health::default();
    let (sender, inbox) = queue(health);
    agent.listen(sender)?;
    // The first comparison after listening began reads everything; the others have nothing to read.
    compare(&mut agent, &mut Vec::new())?;
    let heard = (0..ROUNDS).map(|_| compare(&mut agent, &mut Vec::new())).collect::<Result<Vec<_>>>()?;

    let mut bare = Kernel::open()?;
    let done = Arc::new(AtomicBool::new(false));
    let neighbour = {
        let done = Arc::clone(&done);
        // A thread starts in the namespace of the thread that spawns it.
        std::thread::spawn(move || neighbour(&done))
    };
    let (mut changes, mut commits) = (Vec::new(), Vec::new());
    let (started, mut n) = (Instant::now(), 0);
    while started.elapsed() < LONG {
        n = (n + 7919) % services;
        changes.push(change(&mut agent, &inbox, &synthetic, n)?);
        std::thread::sleep(PAUSE);
        commits.push(commit_one(&mut bare)?);
        std::thread::sleep(PAUSE);
    }
    done.store(true, Ordering::Relaxed);
    let loads = neighbour.join().map_err(|_| "the neighbour panicked")?.map_err(|error| error.to_string())?;
    drop(agent);
    retire(bare)?;
    let floor = percentile(&mut commits, 99);
    Ok(vec![
        Figure::new("comparison", best(heard).as_secs_f64()),
        Figure::new("comparison-read", best(read).as_secs_f64())
            .with(format!("{:.1} ms", percentile(&mut parts, 99).as_secs_f64() * 1e3)),
        Figure::new("neighbour", percentile(&mut changes, 99).as_secs_f64())
            .with(format!("{:.0} ms; {loads} loads", floor.as_secs_f64() * 1e3)),
    ])
}

/// An agent that knows these Services and has written nothing yet.
pub fn agent<T: Tables>(
    synthetic: &Synthetic,
    services: impl IntoIterator<Item = u32> + Clone,
    kernel: T,
) -> Agent<T> {
    let settings = Settings {
        node_name: "node".into(),
        node_port_addresses: portolan_rules::selection::node_port_addresses::NodePortAddresses::default(),
        detect_local: DetectLocal::ClusterCidr(Vec::new()),
        service_cidrs: Vec::new(),
        proxy_name: None,
        config: Config::default(),
    };
    let (recorder, _) = Recorder::new();
    let mut agent = Agent::new(settings, kernel, Health::default(), recorder, Metrics::default());
    let service = |n| Change::Service(service_name(n), Some(Arc::new(synthetic.service(n))));
    agent.apply(services.clone().into_iter().map(service));
    let slices = services.into_iter().flat_map(|n| synthetic.slices(n));
    agent.apply(slices.map(|slice| Change::Slice(slice.name.clone(), Some(Arc::new(slice)))));
    agent
}

/// The time of the whole comparison, and of each of its parts that a change would wait for.
fn compare(agent: &mut Agent, parts: &mut Vec<Duration>) -> Result<Duration> {
    let started = Instant::now();
    agent.sync_for(Cause::Period)?;
    let mut begun = started;
    while agent.is_checking() {
        parts.push(begun.elapsed());
        begun = Instant::now();
        agent.compare_part()?;
    }
    parts.push(begun.elapsed());
    begun = Instant::now();
    agent.sync_for(Cause::Repair)?;
    parts.push(begun.elapsed());
    Ok(started.elapsed())
}

/// Swaps an endpoint; returns the time from the event to the commit, with all work that notifications request.
fn change(agent: &mut Agent, inbox: &Receiver, synthetic: &Synthetic, n: u32) -> Result<Duration> {
    let started = Instant::now();
    for event in inbox.take() {
        if let Event::Foreign(change) = event {
            agent.foreign(change);
        }
    }
    let mut slice = synthetic.slices(n).pop().ok_or("no slice")?;
    swap(&mut slice);
    agent.apply([Change::Slice(slice.name.clone(), Some(Arc::new(slice)))]);
    agent.sync()?;
    Ok(started.elapsed())
}

/// The time that any commit currently takes: measured with a separate table.
fn commit_one(kernel: &mut Kernel) -> Result<Duration> {
    let mut transaction = Transaction::new("bare");
    transaction.push(Family::Ip6, Operation::AddTable);
    let started = Instant::now();
    kernel.commit(&transaction)?;
    let took = started.elapsed();
    transaction.operations = vec![(Family::Ip6, Operation::DeleteTable)];
    kernel.commit(&transaction)?;
    Ok(took)
}

/// Loads and deletes a set repeatedly; returns how often.
fn neighbour(done: &AtomicBool) -> Result<usize, portolan::kernel::nftables::Error> {
    let mut kernel = Kernel::open()?;
    let set = Arc::new(Set::new("addresses", &[DataType::Ipv4Addr]));
    let mut load = Transaction::new("neighbour");
    load.push(Family::Ip, Operation::AddTable);
    load.push(Family::Ip, Operation::AddSet(Box::new(Set::clone(&set))));
    for n in 0..ELEMENTS {
        let key = Concat::new(&[Value::Ipv4((0xc000_0000 + n).into())]);
        load.push(Family::Ip, Operation::AddElement { set: set.clone(), key, element: Element::member() });
    }
    let mut delete = Transaction::new("neighbour");
    delete.push(Family::Ip, Operation::DeleteTable);
    let mut loads = 0;
    while !done.load(Ordering::Relaxed) {
        kernel.commit(&load)?;
        kernel.commit(&delete)?;
        loads += 1;
        // A real process that parses a list of addresses takes longer than the kernel.
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(loads)
}
