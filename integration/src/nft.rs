//! nftables from outside: listing and loading with `nft`, and the changes that any process makes.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{LabError, Namespace, lab::eventually};

/// Runs `nft` in a namespace with `input` on its stdin; returns its stdout.
pub fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> Result<String, LabError> {
    namespace.filter("nft", arguments, input)
}

/// Collects nftables' change notifications in a namespace (`nft monitor`).
#[derive(Debug)]
pub struct Notifications {
    namespace: Namespace,
    monitor: Child,
    log: tempfile::NamedTempFile,
    start: String,
}

/// How long a notification may take; it takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

static NEXT_MARKER: AtomicU32 = AtomicU32::new(0);

impl Notifications {
    /// Starts listening; once this returns, every later change is recorded.
    pub fn start(namespace: &Namespace) -> Result<Self, LabError> {
        let log = tempfile::NamedTempFile::new().map_err(LabError::io("make a temporary file"))?;
        let output = log.reopen().map_err(LabError::io("open a temporary file"))?;
        let monitor = spawn(namespace, output).map_err(LabError::io("run nft monitor"))?;
        let mut this = Self { namespace: namespace.clone(), monitor, log, start: String::new() };
        // The monitor does not report when it is ready: it is ready once it reports a change that was made for this
        // purpose.
        let mut markers = Vec::new();
        for _ in 0..PATIENCE.as_millis() / 50 {
            markers.push(this.mark()?);
            let marker = || markers.iter().find(|marker| this.text().contains(*marker)).cloned();
            if eventually(Duration::from_millis(50), || marker().is_some()).is_some() {
                // The monitor will report the later markers as well.
                this.start = markers.pop().unwrap_or_default();
                this.wait_for(&this.start)?;
                return Ok(this);
            }
        }
        let stderr = "it reported no change that was made".into();
        Err(LabError::Command { command: "nft monitor".into(), stderr })
    }

    /// The changes since the start, one line each; comments name the process that made them.
    pub fn changes(&self) -> Result<Vec<String>, LabError> {
        let end = self.mark()?;
        // Notifications come in order: once the marker is there, everything before it is there as well.
        self.wait_for(&end)?;
        let text = self.text();
        let lines = text.lines().skip_while(|line| !line.contains(&self.start));
        let lines = lines.take_while(|line| !line.contains(&end));
        let ours = |line: &&str| !line.contains("marker-") && !line.contains("(nft)");
        Ok(lines.filter(ours).map(str::to_owned).collect())
    }

    /// Creates and removes a table whose name was not used before.
    fn mark(&self) -> Result<String, LabError> {
        let marker = format!("marker-{}-", NEXT_MARKER.fetch_add(1, Ordering::Relaxed));
        nft(
            &self.namespace,
            &["-f", "-"],
            &format!("add table inet {marker}\ndelete table inet {marker}\n"),
        )?;
        Ok(marker)
    }

    fn wait_for(&self, marker: &str) -> Result<(), LabError> {
        if eventually(PATIENCE, || self.text().contains(marker)).is_some() {
            return Ok(());
        }
        let stderr = format!("it lost the marker {marker}");
        Err(LabError::Command { command: "nft monitor".into(), stderr })
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        // The monitor may have ended already; nothing else can be done about a failure here.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

fn spawn(namespace: &Namespace, output: File) -> std::io::Result<Child> {
    // setpriv has it killed when the thread that started it ends, even if this process is killed.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "nft", "monitor"]).stdin(Stdio::null()).stdout(output);
    namespace.enter(move || command.spawn())
}
