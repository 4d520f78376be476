//! The `portolan` binary on a node of the lab.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};

use crate::{
    LabError, Namespace, Node,
    http::{self, Response},
    lab::eventually,
};

/// The default port of the health server (kube-proxy's `--healthz-bind-address`).
const HEALTHZ: u16 = 10256;
/// How long a start or an exit may take; either takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// The binary under test: `$PORTOLAN_BIN`, otherwise `portolan` next to the running executable or, for a
/// test executable, one directory above it.
pub fn binary() -> Result<PathBuf, LabError> {
    if let Some(path) = std::env::var_os("PORTOLAN_BIN") {
        let path = PathBuf::from(path);
        return if path.is_file() { Ok(path) } else { Err(LabError::NoBinary(path)) };
    }
    let executable = std::env::current_exe().map_err(LabError::io("find the running executable"))?;
    let near = executable.with_file_name("portolan");
    let above = executable.parent().unwrap_or(Path::new("/")).with_file_name("portolan");
    [near, above.clone()].into_iter().find(|path| path.is_file()).ok_or(LabError::NoBinary(above))
}

/// The CPU time that the current threads of a process have spent; only of threads named `name`, if given.
pub fn cpu_time(pid: u32, name: Option<&str>) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let time = |path: PathBuf| {
        let comm = fs::read_to_string(path.join("comm")).ok()?;
        if name.is_some_and(|name| comm.trim_end() != name) {
            return None;
        }
        let times = fs::read_to_string(path.join("schedstat")).ok()?;
        times.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
    };
    // A thread may end in the meantime.
    threads.filter_map(|thread| time(thread.path())).sum()
}

/// A running `portolan run`. Dropping it kills the process and, if a test is failing, prints its stderr.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    node: String,
    namespace: Namespace,
    stderr: tempfile::NamedTempFile,
}

impl Agent {
    /// Starts `portolan run -f manifests` on a node, under the node's name, and waits until it is
    /// synced (`/readyz` is 200).
    pub fn start(node: &Node, manifests: &Path, arguments: &[&str]) -> Result<Self, LabError> {
        Self::spawn(node, manifests, arguments)?.wait()
    }

    /// Starts `portolan run --kubeconfig file` on a node, under the node's name, and waits until it is
    /// ready (`/readyz` is 200).
    pub fn start_in_cluster(node: &Node, kubeconfig: &Path, arguments: &[&str]) -> Result<Self, LabError> {
        Self::spawn_in_cluster(node, kubeconfig, arguments)?.wait()
    }

    /// Starts `portolan run -f manifests` without waiting.
    pub fn spawn(node: &Node, manifests: &Path, arguments: &[&str]) -> Result<Self, LabError> {
        Self::spawn_by(node, &[], manifests, arguments)
    }

    /// Starts the agent through another program, which must exec it in the end: `["prlimit", "--nofile=20"]`.
    pub fn spawn_by(
        node: &Node,
        program: &[&str],
        manifests: &Path,
        arguments: &[&str],
    ) -> Result<Self, LabError> {
        Self::spawn_from(node, program, ("-f", manifests), arguments)
    }

    /// Starts `portolan run --kubeconfig file` without waiting.
    pub fn spawn_in_cluster(node: &Node, kubeconfig: &Path, arguments: &[&str]) -> Result<Self, LabError> {
        Self::spawn_from(node, &[], ("--kubeconfig", kubeconfig), arguments)
    }

    /// [`Agent::spawn_in_cluster`] through another program, which must exec the agent in the end:
    /// `["env", "NAME=value"]`.
    pub fn spawn_in_cluster_by(
        node: &Node,
        program: &[&str],
        kubeconfig: &Path,
        arguments: &[&str],
    ) -> Result<Self, LabError> {
        Self::spawn_from(node, program, ("--kubeconfig", kubeconfig), arguments)
    }

    fn spawn_from(
        node: &Node,
        program: &[&str],
        (flag, source): (&str, &Path),
        arguments: &[&str],
    ) -> Result<Self, LabError> {
        let stderr = tempfile::NamedTempFile::new().map_err(LabError::io("make a temporary file"))?;
        let log: File = stderr.reopen().map_err(LabError::io("open a temporary file"))?;
        // setpriv, which becomes the agent, has it killed when the thread that started it ends: the node's thread.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(program);
        command.arg(binary()?).arg("run").arg(flag).arg(source);
        command.args(["--hostname-override", node.name()]).args(arguments);
        if !arguments.iter().any(|argument| argument.starts_with("--socket")) {
            // Otherwise all agents of all tests would share the default.
            command.args(["--socket", ""]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = node.namespace().enter(move || command.spawn()).map_err(LabError::io("run portolan"))?;
        Ok(Self { child, node: node.name().into(), namespace: node.namespace().clone(), stderr })
    }

    fn wait(mut self) -> Result<Self, LabError> {
        let mut exited = None;
        let synced = eventually(PATIENCE, || {
            exited = self.child.try_wait().ok().flatten();
            exited.is_some() || self.readyz() == Some(200)
        });
        let what = match (exited, synced) {
            (None, Some(_)) => return Ok(self),
            (Some(status), _) => format!("ended with {status} instead of running"),
            (None, None) => format!("was not synced within {PATIENCE:?}"),
        };
        Err(LabError::Agent { node: self.node.clone(), what, stderr: self.stderr() })
    }

    /// Runs another command of the binary on a node: `["diff", "-f", …]`.
    pub fn command(node: &Node, arguments: &[&str]) -> Result<Output, LabError> {
        node.namespace().output(&binary()?.to_string_lossy(), arguments, "")
    }

    /// The status code of `GET /healthz`; `None` while there is no response.
    pub fn healthz(&self) -> Option<u16> {
        self.get(HEALTHZ, "/healthz").map(|response| response.code)
    }

    /// The status code of `GET /readyz`; `None` while there is no response.
    pub fn readyz(&self) -> Option<u16> {
        self.get(HEALTHZ, "/readyz").map(|response| response.code)
    }

    /// The response of one of the agent's servers on its node's loopback; `None` while there is no response.
    pub fn get(&self, port: u16, path: &str) -> Option<Response> {
        http::get(&self.namespace, (Ipv4Addr::LOCALHOST, port).into(), path)
    }

    /// The id of the agent's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The agent's resident memory in KiB (`VmRSS` of `/proc/…/status`); `None` if it has exited.
    pub fn resident_memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    /// The agent's peak resident memory in KiB (`VmHWM`); `None` if it has exited.
    pub fn most_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        value.split_whitespace().next()?.parse().ok()
    }

    /// The agent's exit status, if it has exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The complete lines that the agent has written to stderr so far.
    pub fn stderr(&self) -> String {
        let mut bytes = fs::read(self.stderr.path()).unwrap_or_default();
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Asks the agent to stop (SIGTERM) and waits for its exit.
    pub fn terminate(mut self) -> Result<ExitStatus, LabError> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        signal::kill(pid, signal::SIGTERM).map_err(|error| LabError::io("send SIGTERM")(error.into()))?;
        let mut status = None;
        eventually(PATIENCE, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.ok_or_else(|| LabError::Agent {
            node: self.node.clone(),
            what: format!("did not end within {PATIENCE:?} of SIGTERM"),
            stderr: self.stderr(),
        })
    }

    /// Kills the agent (SIGKILL), as a crash would.
    pub fn kill(mut self) -> Result<(), LabError> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(LabError::io("kill portolan"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        // The process is gone already, or is gone after this; a failure changes nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let crash = ended.and_then(|status| status.signal()).map(|signal| format!(" (signal {signal})"));
            eprintln!("portolan on {}{}:\n{}", self.node, crash.unwrap_or_default(), self.stderr());
        }
    }
}
