//! What every Prometheus client says of its process, read from `/proc/self` (proc(5)).

use std::fs;

use prometheus::{Counter, IntGauge, Registry};
use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

use super::registered;

/// The metrics.
#[derive(Debug)]
pub struct Process {
    cpu: Counter,
    resident_memory: IntGauge,
    virtual_memory: IntGauge,
    open_files: IntGauge,
    max_files: IntGauge,
    threads: IntGauge,
    start_time: IntGauge,
}

impl Process {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let gauge = |name, help| registered(registry, IntGauge::new(format!("process_{name}"), help));
        let cpu = ("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.");
        let process = Self {
            cpu: registered(registry, Counter::new(cpu.0, cpu.1)),
            resident_memory: gauge("resident_memory_bytes", "Resident memory size in bytes."),
            virtual_memory: gauge("virtual_memory_bytes", "Virtual memory size in bytes."),
            open_files: gauge("open_fds", "Number of open file descriptors."),
            max_files: gauge("max_fds", "Maximum number of open file descriptors."),
            threads: gauge("threads", "Number of OS threads in the process."),
            start_time: gauge("start_time_seconds", "Start time of the process since unix epoch in seconds."),
        };
        process.start_time.set(started().unwrap_or_default());
        process
    }

    /// Reads them anew. What cannot be read stays as it was.
    pub fn read(&self) {
        if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
            let ticks = clock_ticks_per_second().max(1);
            #[expect(clippy::cast_precision_loss, reason = "hundredths of seconds are far below 2^52")]
            let seconds = stat.ticks as f64 / ticks as f64;
            self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
            self.threads.set(stat.threads);
            self.virtual_memory.set(stat.virtual_memory);
            let page = i64::try_from(page_size()).unwrap_or(4096);
            self.resident_memory.set(stat.resident_pages.saturating_mul(page));
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            // Without the one that reads this directory.
            self.open_files.set(i64::try_from(files.count()).unwrap_or_default().saturating_sub(1));
        }
        let limit = getrlimit(Resource::Nofile).current;
        self.max_files.set(limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX));
    }
}

/// When this process started, in seconds since the epoch: field 22 of `/proc/self/stat` counts from the start of the
/// machine, which `btime` of `/proc/stat` tells.
fn started() -> Option<i64> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted: i64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + i64::try_from(stat.start_ticks / clock_ticks_per_second().max(1)).ok()?)
}

/// Some fields of `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// `utime` and `stime` together.
    ticks: u64,
    threads: i64,
    /// `starttime`, since the start of the machine.
    start_ticks: u64,
    virtual_memory: i64,
    resident_pages: i64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name of the program, in parentheses, may have any character. What follows starts with field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            ticks: field(14)?.parse::<u64>().ok()? + field(15)?.parse::<u64>().ok()?,
            threads: field(20)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
            virtual_memory: field(23)?.parse().ok()?,
            resident_pages: field(24)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_look_like_fields() {
        let text = "7 (a) 1 (b) S 1 7 7 0 -1 4194304 90 0 0 0 25 17 0 0 20 0 4 0 123 8388608 512 1 2";
        let stat =
            Stat { ticks: 42, threads: 4, start_ticks: 123, virtual_memory: 8_388_608, resident_pages: 512 };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn the_start_is_that_of_the_process_not_of_the_metrics() {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let now = || jiff::Timestamp::now().as_second();
        let before = now();
        let started = Process::new(&Registry::new()).start_time.get();
        // `ps` works it out in the same way; it rounds otherwise.
        let output = std::process::Command::new("ps")
            .args(["-o", "etimes=", "-p", &std::process::id().to_string()])
            .output()
            .unwrap();
        let elapsed: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        // `ps` looked at some moment between these.
        let possible = before - elapsed - 1..=now() - elapsed + 1;
        assert!(elapsed >= 1 && possible.contains(&started), "{possible:?} {elapsed} {started}");
    }

    #[test]
    fn this_process_has_memory_and_open_files() {
        let process = Process::new(&Registry::new());
        process.read();
        assert!(process.resident_memory.get() > 1 << 20);
        assert!(process.open_files.get() >= 3, "standard streams are open");
        assert!(process.max_files.get() >= process.open_files.get());
    }
}
