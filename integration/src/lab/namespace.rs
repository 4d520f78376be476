//! A network namespace without a name: a thread that lives in it, and a file that keeps it open.
//!
//! Nothing is created under `/run/netns`, so nothing is left behind: the kernel removes the
//! namespace with its last file and socket, even if the process that created it is killed.

use std::{
    fs::File,
    io::Write,
    os::fd::AsRawFd,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

use super::LabError;

type Job = Box<dyn FnOnce() + Send>;

/// A handle to a network namespace; the namespace lives as long as one of its handles.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    file: File,
    jobs: Sender<Job>,
}

impl Namespace {
    /// Creates a namespace with its loopback up and forwarding off; `name` appears in messages only.
    ///
    /// # Errors
    /// [`LabError::NotRoot`] without root.
    pub fn new(name: &str) -> Result<Self, LabError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let (jobs, queue) = channel::<Job>();
        let (ready, opened) = channel();
        std::thread::Builder::new()
            .name(format!("ns-{name}"))
            .spawn(move || {
                let file = unshare(CloneFlags::CLONE_NEWNET)
                    .map_err(std::io::Error::from)
                    .and_then(|()| File::open("/proc/thread-self/ns/net"));
                let usable = file.is_ok();
                // The receiver is gone only if the creator is; then there is nothing left to do here.
                let _ = ready.send(file);
                while usable && let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(LabError::io("start a thread"))?;
        let file = opened
            .recv()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))
            .map_err(LabError::io(format!("make the network namespace of {name}")))?;
        let namespace = Self(Arc::new(Inner { name: name.into(), file, jobs }));
        for (key, value) in [
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            ("net/ipv6/conf/all/disable_ipv6", "0"),
            ("net/ipv6/conf/default/disable_ipv6", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/default/router_solicitations", "0"),
            // Every refusal is sent, however many there are.
            ("net/ipv4/icmp_ratemask", "0"),
            ("net/ipv6/icmp/ratelimit", "0"),
            // A server that remembers a connection it has closed drops the first packet of a new connection from the
            // same address and port if its timestamp is older, as the timestamp of another masqueraded client may be.
            // It also keeps a client that connects all the time from running out of ports.
            ("net/ipv4/tcp_max_tw_buckets", "0"),
        ] {
            namespace.sysctl(key, value)?;
        }
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    /// The name given to [`Namespace::new`].
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A path that names this namespace to `ip link … netns` and `nsenter --net=`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.file.as_raw_fd())
    }

    /// Runs `job` on the namespace's own thread and returns its result. Jobs run one after the other:
    /// open sockets here, but wait on them elsewhere (a socket stays in the namespace it was opened in).
    ///
    /// # Panics
    /// If `job` panics.
    pub fn enter<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            // The receiver waits below, so it exists.
            let _ = done.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
        });
        let sent = self.0.jobs.send(job);
        match sent.ok().and_then(|()| result.recv().ok()) {
            Some(Ok(value)) => value,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("the thread of a namespace outlives its handles"),
        }
    }

    /// Writes a sysctl of this namespace; `key` is the path below `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &'static str) -> Result<(), LabError> {
        let path = format!("/proc/sys/{key}");
        let what = format!("write {value} to {path} in {}", self.name());
        self.enter(move || std::fs::write(path, value)).map_err(LabError::io(what))
    }

    /// The number of packets that connection tracking has dropped here because another connection took their tuple at
    /// the same moment: `insert_failed` of `/proc/net/stat/nf_conntrack`. With any ruleset, two connections that are
    /// masqueraded on two cores at once may be given the same port; the kernel lets one of them through, and a client
    /// resends the other.
    pub fn clashes(&self) -> Result<u64, LabError> {
        let text = self.filter("cat", &["/proc/net/stat/nf_conntrack"], "")?;
        let mut lines = text.lines();
        let column =
            lines.next().and_then(|names| names.split_whitespace().position(|name| name == "insert_failed"));
        let of_cpu = |line: &str| {
            let number = line.split_whitespace().nth(column?)?;
            u64::from_str_radix(number, 16).ok()
        };
        let sum = lines.map(of_cpu).sum::<Option<u64>>();
        sum.ok_or_else(|| LabError::Command {
            command: "cat /proc/net/stat/nf_conntrack".to_owned(),
            stderr: text,
        })
    }

    /// Runs `ip -batch` with these commands, one per line, in one process.
    pub fn ip(&self, commands: &str) -> Result<(), LabError> {
        self.filter("ip", &["-batch", "-"], commands).map(drop)
    }

    /// Runs a program in this namespace with `input` on its stdin; returns its stdout.
    ///
    /// # Errors
    /// [`LabError::Command`] if it exits with anything but 0.
    pub fn filter(&self, program: &str, arguments: &[&str], input: &str) -> Result<String, LabError> {
        let output = self.output(program, arguments, input)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let command = format!("`{program} {}` in {}", arguments.join(" "), self.name());
        Err(LabError::Command { command, stderr })
    }

    /// Runs a program in this namespace with `input` on its stdin, whatever its exit code.
    pub fn output(&self, program: &str, arguments: &[&str], input: &str) -> Result<Output, LabError> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let what = format!("run {program} in {}", self.name());
        let mut child = self.enter(move || command.spawn()).map_err(LabError::io(what.clone()))?;
        // The input is small enough for the pipe, or read as it arrives: `ip` and `nft -f` read everything before they
        // write.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().map_err(LabError::io(what.clone()))?;
        match written {
            // A program that failed early has not read its input; its exit code explains more.
            Err(error) if output.status.success() => Err(LabError::io(what)(error)),
            _ => Ok(output),
        }
    }

    /// Opens a socket in this namespace.
    pub fn socket(&self, domain: Domain, kind: Type, protocol: Option<i32>) -> std::io::Result<Socket> {
        self.enter(move || Socket::new(domain, kind, protocol.map(socket2::Protocol::from)))
    }
}

/// Moves this thread, the sockets that it opens and the processes that it starts into a new network namespace, which
/// vanishes with them.
///
/// # Panics
/// Without root.
pub fn enter_fresh_namespace() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root: it makes network namespaces");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace");
}
