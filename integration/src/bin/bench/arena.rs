//! A network namespace with some Services in it, and the agent's state for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use portolan::{
    agent::cold_start,
    kernel::nftables::{Kernel, Tables},
};
use portolan_integration::{
    plan,
    synthetic::{Kinds, Synthetic, service_name, spare},
};
use portolan_rules::{
    compile::{Compiler, Loaded},
    model::{EndpointSlice, Service},
    plane::{Config, SetName},
    ruleset::{Family, Operation, Transaction},
    state::State,
};

use super::Result;

/// Elements for which the largest sets are declared.
const LARGEST: u32 = 1 << 20;

/// A compiler that has compiled nothing yet, with an address that answers node ports.
pub fn compiler() -> Compiler {
    let mut compiler = Compiler::new(Config::default());
    compiler.set_node_addresses(&[[192, 0, 2, 1].into()].into());
    compiler
}

/// A socket to an otherwise empty network namespace, which vanishes with the socket.
pub fn fresh_kernel() -> Result<Kernel> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    Ok(Kernel::open()?)
}

/// Makes the machine hold as much memory as the largest sets take. A virtual machine's memory that has been free for
/// some seconds may have returned to the host, and its first use then takes ten microseconds per page, for some
/// thousand pages per set, while the mutex is held.
pub fn warm() -> Result<()> {
    let mut kernel = fresh_kernel()?;
    let mut transaction = Transaction::new(Config::default().table);
    for family in Family::ALL {
        transaction.push(family, Operation::AddTable);
        for name in [SetName::Frontends, SetName::Endpoints, SetName::Attributes] {
            let set = name.declaration(&Config::default(), family, LARGEST);
            transaction.push(family, Operation::AddSet(Box::new(set)));
        }
    }
    kernel.commit(&transaction)?;
    retire(kernel)
}

/// Drops a namespace, and waits until the kernel has finished with it.
pub fn retire(mut kernel: Kernel) -> Result<()> {
    let mut transaction = Transaction::new(Config::default().table);
    for family in Family::ALL {
        transaction.push(family, Operation::DeleteTable);
    }
    kernel.commit(&transaction)?;
    drop(kernel);
    std::thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// The shortest of these times; zero if there are none.
pub fn best(times: impl IntoIterator<Item = Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

/// The median of these times.
pub fn median(mut times: Vec<Duration>) -> Duration {
    percentile(&mut times, 50)
}

/// The value that this percentage of times does not exceed; zero if there are none.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

/// The CPU time that this process has used.
pub fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let duration = |time: nix::sys::time::TimeVal| {
        Duration::from_secs(time.tv_sec().unsigned_abs())
            + Duration::from_micros(time.tv_usec().unsigned_abs())
    };
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

/// The time that a change took.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// From the objects to the acknowledged commit.
    pub whole: Duration,
    /// The part of it in the kernel.
    pub kernel: Duration,
}

/// Services in a namespace of their own.
pub struct Arena {
    pub kernel: Kernel,
    pub state: State,
    pub compiler: Compiler,
    pub synthetic: Synthetic,
    /// The number of Services that changes go to: the first ones.
    changing: u32,
    next: u32,
}

impl Arena {
    /// Creates the namespace and loads the Services.
    pub fn new(services: u32, kinds: Kinds) -> Result<Self> {
        let (mut kernel, mut compiler) = (fresh_kernel()?, compiler());
        let synthetic = Synthetic::new(services, kinds);
        let mut state = synthetic.state();
        let (done, result) = cold_start(&mut kernel, &mut compiler, &mut state);
        result?;
        if !matches!(done.loaded, Loaded::Complete(_)) {
            return Err("the cold start did not complete".into());
        }
        let changing = match kinds {
            Kinds::Large(_) => 1,
            Kinds::NodePorts(count) => count.min(services),
            Kinds::Plain | Kinds::Mixed | Kinds::DualStack => services,
        };
        Ok(Self { kernel, state, compiler, synthetic, changing, next: 0 })
    }

    /// The next Service to change; the stride visits Services all over the table.
    pub fn next(&mut self) -> u32 {
        self.next = (self.next + 7919) % self.changing;
        self.next
    }

    /// Commits changed slices.
    pub fn set_slices(&mut self, slices: Vec<EndpointSlice>) -> Result<Took> {
        let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
        let started = Instant::now();
        for slice in slices {
            let name = slice.name.clone();
            self.state.set_slice(&name, Some(slice));
        }
        self.commit(started)
    }

    /// Commits a new Service with its slices.
    pub fn create(&mut self, service: Service, slices: Vec<EndpointSlice>) -> Result<Took> {
        let (service, slices) = (Arc::new(service), slices.into_iter().map(Arc::new).collect::<Vec<_>>());
        let started = Instant::now();
        let name = service.name.clone();
        self.state.set_service(&name, Some(service));
        for slice in slices {
            let name = slice.name.clone();
            self.state.set_slice(&name, Some(slice));
        }
        self.commit(started)
    }

    /// Deletes Service `n` and its slices.
    pub fn delete(&mut self, n: u32) -> Result<Took> {
        let slices = self.synthetic.slices(n);
        let name = service_name(n);
        let started = Instant::now();
        self.state.set_service(&name, None);
        for slice in slices {
            self.state.set_slice(&slice.name, None);
        }
        self.commit(started)
    }

    /// Compiles and commits what has changed in the state.
    pub fn commit(&mut self, started: Instant) -> Result<Took> {
        let update = self.compiler.update(&mut self.state);
        let commit = plan::commit(&mut self.kernel, &mut self.compiler, &update)?;
        Ok(Took { whole: started.elapsed(), kernel: commit.kernel })
    }

    /// The last slice of each family of Service `n`, with a change: the content of an event about one pod.
    pub fn changed(&self, n: u32, change: impl Fn(&mut EndpointSlice)) -> Vec<EndpointSlice> {
        let mut slices = self.last_slices(n);
        slices.iter_mut().for_each(change);
        slices
    }

    /// The last slice of each family of Service `n`.
    pub fn last_slices(&self, n: u32) -> Vec<EndpointSlice> {
        let mut slices = self.synthetic.slices(n);
        let family = |slice: &EndpointSlice| slice.endpoints.first().map(|e| Family::of(e.address));
        slices.reverse();
        slices.dedup_by_key(|slice| family(slice));
        slices
    }
}

/// One endpoint replaced by another.
pub fn swap(slice: &mut EndpointSlice) {
    let new = spare(slice, 0);
    let middle = slice.endpoints.len() / 2;
    if let Some(endpoint) = slice.endpoints.get_mut(middle) {
        *endpoint = new;
    }
}

/// One endpoint more.
pub fn add(slice: &mut EndpointSlice) {
    slice.endpoints.push(spare(slice, 0));
}

/// One endpoint less.
pub fn remove(slice: &mut EndpointSlice) {
    slice.endpoints.pop();
}
