//! The measurement of each system.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike as _},
};
use portolan::kernel::nftables::{Kernel, Tables};
use portolan_integration::{
    Namespace,
    kube_proxy::{Extent, Shape, Table},
    nft, plan,
    synthetic::{Kinds, Synthetic},
};
use portolan_rules::{
    compile::Compiler,
    plane::{Config, PodDetector},
    print,
    ruleset::Ruleset,
};

use super::{Result, results::Cost};

/// A load that takes less time is repeated.
const SHORT: Duration = Duration::from_secs(2);
const LOADS: usize = 3;
/// How long changes are measured, unless [`CHANGES`] are reached earlier.
const CHANGES_TIME: Duration = Duration::from_secs(4);
const CHANGES: usize = 200;
/// The pod network, as kube-proxy's `clusterCIDR`.
const PODS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 0, 0), 8);

/// Portolan, with one endpoint swapped: from Services in memory to the kernel's acknowledgement.
pub fn portolan(services: u32) -> Result<Cost> {
    repeat(|| {
        let namespace = Namespace::new("bench")?;
        let cost = namespace.enter(move || load_and_change(services).map_err(|error| error.to_string()))?;
        Ok(cost)
    })
}

fn load_and_change(services: u32) -> Result<Cost> {
    let population = Synthetic::new(services, Kinds::Plain);
    let (mut state, mut compiler, mut kernel) =
        (population.state(), Compiler::new(config()?), Kernel::open()?);
    let start = Instant::now();
    compiler.load(&mut state, &Ruleset::default());
    let transaction = plan::creation(&compiler);
    let commit = kernel.commit(&transaction)?;
    let elapsed = start.elapsed();
    drop(transaction);

    let (mut times, mut kernel_times) = (Vec::new(), Vec::new());
    for (n, endpoints) in changes(services).take(CHANGES) {
        let mut slice = population.slices(n).remove(0);
        for (endpoint, address) in slice.endpoints.iter_mut().zip(endpoints) {
            endpoint.address = address.ip();
        }
        let (name, slice) = (slice.name.clone(), Arc::new(slice));
        let start = Instant::now();
        state.set_slice(&name, Some(slice));
        let update = compiler.update(&mut state);
        let commit = plan::commit(&mut kernel, &mut compiler, &update)?;
        times.push(start.elapsed().as_secs_f64());
        kernel_times.push(commit.kernel.as_secs_f64());
    }
    Ok(Cost {
        load: Some(elapsed.as_secs_f64()),
        load_kernel: Some(commit.kernel.as_secs_f64()),
        change: quantile(times, 50),
        change_kernel: quantile(kernel_times, 50),
        ..Cost::default()
    })
}

/// The rules that Portolan would write, loaded by nft.
pub fn same_rules(services: u32) -> Result<Cost> {
    let mut compiler = Compiler::new(config()?);
    compiler.load(&mut Synthetic::new(services, Kinds::Plain).state(), &Ruleset::default());
    let text = print::nft(&compiler.ruleset());
    drop(compiler);
    repeat(|| load(&Namespace::new("bench")?, &text))
}

/// The text that kube-proxy would pass to nft, for the first sync and for one swapped endpoint. kube-proxy also lists
/// the table at every sync; that is not counted here. So that a busy machine does not count against kube-proxy, the
/// fastest tenth of its changes counts.
pub fn kube_proxy(shape: Shape, services: u32) -> Result<Cost> {
    let population = Synthetic::new(services, Kinds::Plain);
    let table = Table { shape, extent: Extent::Full, pods: PODS, node: [192, 0, 2, 1].into() };
    let text = table.load(&population);
    let mut namespace = None;
    let cost = repeat(|| {
        // The previous namespace is gone before the next is filled.
        let namespace = namespace.insert(Namespace::new("bench")?);
        load(namespace, &text)
    })?;
    let Some(namespace) = namespace else { return Ok(cost) };

    let (begun, mut times, mut in_kernel) = (Instant::now(), Vec::new(), 0.0);
    for (n, endpoints) in changes(services).take(CHANGES) {
        let text = table.change(&population, n, &endpoints);
        let change = load(&namespace, &text)?;
        times.extend(change.load);
        in_kernel += change.load_kernel.unwrap_or(0.0);
        if begun.elapsed() > CHANGES_TIME {
            break;
        }
    }
    Ok(Cost {
        // The mean, since the kernel counts this time in ticks.
        change_kernel: Some(in_kernel / times.len() as f64),
        change: quantile(times, 10),
        ..cost
    })
}

/// The time of `nft -f -`, and the CPU time that the kernel spends on its behalf.
fn load(namespace: &Namespace, text: &str) -> Result<Cost> {
    let system = |usage: nix::sys::resource::Usage| micros(usage.system_time());
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let start = Instant::now();
    nft(namespace, &["-f", "-"], text)?;
    let elapsed = start.elapsed();
    let in_kernel = system(getrusage(UsageWho::RUSAGE_CHILDREN)?) - system(before);
    Ok(Cost { load: Some(elapsed.as_secs_f64()), load_kernel: Some(in_kernel), ..Cost::default() })
}

fn micros(time: TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e6
}

/// The fastest of several runs, unless one takes long.
fn repeat(mut once: impl FnMut() -> Result<Cost>) -> Result<Cost> {
    let mut best: Option<Cost> = None;
    for _ in 0..LOADS {
        let cost = once()?;
        let is_long = cost.load > Some(SHORT.as_secs_f64());
        if best.as_ref().is_none_or(|best| cost.load < best.load) {
            best = Some(cost);
        }
        if is_long {
            break;
        }
    }
    best.ok_or_else(|| "nothing was measured".into())
}

/// Swaps one endpoint of one Service after another, all over the table, and swaps it back.
fn changes(services: u32) -> impl Iterator<Item = (u32, Vec<SocketAddr>)> {
    let population = Synthetic::new(services, Kinds::Plain);
    (1..).flat_map(move |i: u32| {
        let n = i.wrapping_mul(7919) % services;
        let (before, mut changed) = (population.endpoints(n), population.endpoints(n));
        if let Some(endpoint) = changed.get_mut(2) {
            endpoint.set_ip([10, 200, 0, 1].into());
        }
        [(n, changed), (n, before)]
    })
}

fn config() -> Result<Config> {
    let pods = ipnetwork::IpNetwork::new(PODS.0.into(), PODS.1)?;
    Ok(Config { pods: PodDetector::Networks(vec![pods]), ..Config::default() })
}

fn quantile(mut values: Vec<f64>, percent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() * percent / 100).copied()
}
