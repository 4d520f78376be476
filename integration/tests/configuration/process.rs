//! Runs the binary in its own network namespace.

use std::{
    fs::File,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use portolan_integration::binary;
pub use portolan_integration::enter_fresh_namespace as enter_namespace;

/// The file that kubeadm writes for kube-proxy, unchanged.
pub const KUBEADM: &str = include_str!("data/kubeadm.conf");

/// The first lines of every configuration file.
pub const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// The longest wait, for a loaded machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// The output and the exit status of a command.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().expect("cargo build --bins makes it"));
    command.args(arguments).env("NODE_NAME", "node-a").stdin(Stdio::null());
    command
}

/// Runs the binary until it ends.
#[track_caller]
pub fn portolan(arguments: &[&str]) -> Outcome {
    let output = command(arguments).output().expect("the binary");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A file in its own directory.
pub struct TestFile {
    directory: tempfile::TempDir,
}

impl TestFile {
    pub fn new(text: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().expect("a directory") };
        file.write(text);
        file
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("config.conf")
    }

    pub fn name(&self) -> String {
        self.path().to_str().expect("text").to_owned()
    }

    /// Writes the file in place, as a careless editor does.
    pub fn write(&self, text: &str) {
        let mut file = File::create(self.path()).expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
    }
}

/// A running `portolan run`, which is killed on drop.
pub struct Running {
    child: Child,
    stderr: tempfile::NamedTempFile,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(command(arguments))
    }

    /// Starts the binary as in an unprivileged container: `/proc/sys` is read-only.
    pub fn start_in_container(arguments: &[&str]) -> Self {
        let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
        Self::start_unshared(&["--mount"], script, arguments)
    }

    /// Starts the binary in its own namespaces, where no inotify instance is available.
    pub fn start_without_inotify(arguments: &[&str]) -> Self {
        let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
        Self::start_unshared(&["--user", "--map-root-user", "--net"], script, arguments)
    }

    fn start_unshared(namespaces: &[&str], script: &str, arguments: &[&str]) -> Self {
        let mut container = Command::new("unshare");
        container
            .args(namespaces)
            .args(["sh", "-c", script, "sh"])
            .arg(binary().expect("cargo build --bins makes it"));
        container.args(arguments).env("NODE_NAME", "node-a").stdin(Stdio::null());
        Self::spawn(container)
    }

    fn spawn(mut command: Command) -> Self {
        let stderr = tempfile::NamedTempFile::new().expect("a file");
        let log = stderr.reopen().expect("a file");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary");
        Self { child, stderr }
    }

    pub fn stderr(&self) -> String {
        // The file may end in the middle of a character.
        String::from_utf8_lossy(&std::fs::read(self.stderr.path()).expect("a file")).into_owned()
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        let start = Instant::now();
        while !self.stderr().contains(text) {
            let ended = self.child.try_wait().expect("a child");
            let is_alive = ended.is_none() || self.stderr().contains(text);
            assert!(is_alive, "ended with {ended:?} before {text:?}:\n{}", self.stderr());
            assert!(start.elapsed() < PATIENCE, "no {text:?} in:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the process ends.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "still there:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns nft's listing of the ruleset of this namespace.
#[track_caller]
pub fn ruleset() -> String {
    nft(&["list", "ruleset"])
}

#[track_caller]
pub fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft");
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Runs iproute2 in this namespace.
#[track_caller]
pub fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip");
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a setting of connection tracking in this namespace.
#[track_caller]
pub fn conntrack(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    text.expect("connection tracking").trim().to_owned()
}
