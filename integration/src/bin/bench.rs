//! `make bench`: what a cold start and a change cost, beside the kernel's own time for the same batch.
//!
//! Every size runs in a process and a network namespace of its own, so that memory is that size's alone.

use std::{
    net::SocketAddr,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use portolan::kernel::{self, Kernel};
use portolan_integration::synthetic::{ENDPOINTS, Kinds, Synthetic, endpoints, service_name, slice};
use portolan_rules::{
    compile::{Compiler, Config},
    diff::diff_into,
    model::ObjectName,
    ruleset::Ruleset,
    state::State,
    transaction::Operation,
};

const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// How often each kind of change is measured.
const CHANGES: u32 = 500;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match (arguments.next().map(|size| size.parse()), arguments.next().as_deref()) {
        (Some(Ok(size)), None) => measure(size, Kinds::Plain),
        (Some(Ok(size)), Some("mixed")) => measure(size, Kinds::Mixed),
        (None, _) => all_sizes(),
        _ => Err("usage: bench [SERVICES [mixed]]".into()),
    };
    outcome.map_or_else(
        |error| {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn all_sizes() -> Result<()> {
    println!(
        "{ENDPOINTS} endpoints a Service. `kernel` is the time inside sendmsg(2): the kernel's own for the batch."
    );
    table(&[])?;
    println!();
    println!("The same with a tenth of the Services under session affinity, source ranges or policy Local:");
    table(&["mixed"])
}

fn table(arguments: &[&str]) -> Result<()> {
    println!();
    println!(
        "| Services | elements | compile | encode | kernel | total ÷ kernel | change | p50 | p99 | kernel p50 | p50 ÷ kernel p50 | resident | restart with equal state | operations sent |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for size in SIZES {
        let status = Command::new(std::env::current_exe()?).arg(size.to_string()).args(arguments).status()?;
        if !status.success() {
            return Err(format!("{size} Services: {status}").into());
        }
    }
    Ok(())
}

fn measure(services: u32, kinds: Kinds) -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .map_err(|error| format!("a network namespace of its own takes root: {error}"))?;
    let mut kernel = Kernel::open()?;
    let mut state = Synthetic::new(services, kinds).state();

    if kinds == Kinds::Plain {
        let mut compiler = Compiler::new(Config::default());
        let mut kernel2 = Kernel::open()?;
        let (done, result) = portolan::agent::cold_start(&mut kernel2, &mut compiler, &mut state);
        result?;
        let d = done.ok_or("x")?;
        eprintln!(
            "cold {:?} kernel {:?} encode {:?} longest {:?} tx {} complete {:?}",
            d.elapsed,
            d.kernel,
            d.encode,
            d.longest,
            d.transactions,
            matches!(d.loaded, portolan_rules::compile::Loaded::Complete(_))
        );
        let present = kernel2.dump("portolan")?;
        eprintln!("diff {}", diff_into(&compiler.config().table, &present, compiler.ruleset()).len());
        let mut t = portolan_rules::transaction::Transaction::new("portolan");
        for f in portolan_rules::ruleset::Family::ALL {
            t.push(f, Operation::DeleteTable);
        }
        kernel2.commit(&t)?;
        std::thread::sleep(Duration::from_millis(500));
    }
    let config = Config::default();
    let mut compiler = Compiler::new(config.clone());
    let started = Instant::now();
    compiler.load(&mut state, &Ruleset::default());
    let transaction = compiler.creation();
    let compile = started.elapsed();
    let commit = kernel.commit(&transaction)?;
    let total = started.elapsed();
    let is_element = |(_, operation): &&(_, Operation)| matches!(operation, Operation::AddElement { .. });
    let elements = transaction.operations.iter().filter(is_element).count();
    drop(transaction);

    let cold = format!(
        "| {services} | {elements} | {} | {} | {} | {:.2} |",
        millis(compile),
        millis(commit.encode),
        millis(commit.kernel),
        total.as_secs_f64() / commit.kernel.as_secs_f64(),
    );
    let resident = resident_mib()?;
    let mut changes = Changes { kernel, state, compiler, services, next: 0 };
    let mut figures = Vec::new();
    for kind in [Kind::Swap, Kind::Add, Kind::Remove] {
        figures.push(changes.measure(kind)?);
    }
    let (restart, operations) = changes.restart()?;
    for (i, figures) in figures.iter().enumerate() {
        if i == 0 {
            println!("{cold} {figures} {resident} MiB | {} | {operations} |", millis(restart));
        } else {
            println!("| | | | | | | {figures} | | |");
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Swap,
    Add,
    Remove,
}

struct Changes {
    kernel: Kernel,
    state: State,
    compiler: Compiler,
    services: u32,
    next: u32,
}

impl Changes {
    /// Makes one kind of change to one Service after another, and back again where it would not repeat.
    fn measure(&mut self, kind: Kind) -> Result<String> {
        let (mut whole, mut in_kernel) = (Vec::new(), Vec::new());
        for _ in 0..CHANGES {
            // A stride that visits Services all over the table.
            self.next = (self.next + 7919) % self.services;
            let (n, name) = (self.next, service_name(self.next));
            let mut changed = endpoints(n);
            match kind {
                Kind::Swap => changed[2] = ([10, 200, 0, 1], 9090).into(),
                Kind::Add => changed.push(([10, 200, 0, 1], 9090).into()),
                Kind::Remove => {
                    changed.pop();
                }
            }
            let (elapsed, commit) = self.change(&name, &changed)?;
            whole.push(elapsed);
            in_kernel.push(commit.kernel);
            self.change(&name, &endpoints(n))?;
        }
        whole.sort_unstable();
        in_kernel.sort_unstable();
        let (p50, p99, kernel_p50) =
            (percentile(&whole, 50), percentile(&whole, 99), percentile(&in_kernel, 50));
        let word = match kind {
            Kind::Swap => "swap",
            Kind::Add => "add",
            Kind::Remove => "remove",
        };
        Ok(format!(
            "{word} | {} | {} | {} | {:.2} |",
            micros(p50),
            micros(p99),
            micros(kernel_p50),
            p50.as_secs_f64() / kernel_p50.as_secs_f64()
        ))
    }

    /// What a new process does that finds its own work in the kernel: how long it takes to see that nothing
    /// is to be done, and how much it would do.
    fn restart(&mut self) -> Result<(Duration, usize)> {
        self.compiler = Compiler::new(self.compiler.config().clone());
        let started = Instant::now();
        let config = self.compiler.config().clone();
        let state = &mut self.state;
        let mut fresh = Compiler::new(config.clone());
        let t0 = Instant::now();
        let mut t1 = t0;
        let present = self.kernel.dump_expecting(&config.table, &mut |skeleton| {
            fresh = Compiler::new(config.clone());
            fresh.load(state, skeleton);
            let r = fresh.ruleset();
            t1 = Instant::now();
            r
        })?;
        let t2 = Instant::now();
        let mut transaction = diff_into(&config.table, &present, fresh.ruleset());
        let t3 = Instant::now();
        if !transaction.is_empty() {
            fresh = Compiler::new(config.clone());
            fresh.load(&mut self.state, &present);
            transaction = diff_into(&config.table, &present, fresh.ruleset());
        }
        eprintln!("compile {:?} read {:?} diff {:?} again {:?}", t1 - t0, t2 - t1, t3 - t2, t3.elapsed());
        self.compiler = fresh;
        if !transaction.is_empty() {
            self.kernel.commit(&transaction)?;
        }
        Ok((started.elapsed(), transaction.len()))
    }

    fn change(&mut self, name: &ObjectName, endpoints: &[SocketAddr]) -> Result<(Duration, kernel::Commit)> {
        let slice = Arc::new(slice(name, endpoints));
        let started = Instant::now();
        self.state.set_slice(name, Some(slice));
        let update = self.compiler.update(&mut self.state);
        let commit = self.kernel.commit(&update.transaction)?;
        Ok((started.elapsed(), commit))
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn micros(duration: Duration) -> String {
    format!("{:.0} µs", duration.as_secs_f64() * 1e6)
}

fn resident_mib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure in VmRSS")?.parse()?;
    Ok(kib / 1024)
}
