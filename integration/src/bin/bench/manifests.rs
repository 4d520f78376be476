//! The real binary, with manifests on disk.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use portolan_integration::{
    Namespace, binary, eventually, get,
    synthetic::{Format, Kinds, NODE, Synthetic},
};

use super::{Result, arena::best, figure::Figure, memory::resident, rows::Unit};

const FILES: u32 = 100;
const ROUNDS: usize = 3;
/// The port of the metrics, and the metric that counts changes of Services in the kernel.
const METRICS: u16 = 10249;
const CHANGES: &str = "kubeproxy_sync_proxy_rules_service_changes_total";
/// How long the start may take.
const LIMIT: Duration = Duration::from_mins(2);

/// Measures with YAML and with JSON.
pub fn measure(services: u32) -> Result<Vec<Figure>> {
    let synthetic = Synthetic::new(services, Kinds::Plain);
    let yaml = tempfile::tempdir()?;
    synthetic.write(yaml.path(), FILES, Format::Yaml)?;
    let mut figures = vec![once(services, yaml.path(), "yaml")?];
    figures.push(watching(yaml.path())?);
    drop(yaml);
    let json = tempfile::tempdir()?;
    synthetic.write(json.path(), FILES, Format::Json)?;
    figures.push(once(services, json.path(), "json")?);
    Ok(figures)
}

/// `run --once`, each time in an empty namespace.
fn once(services: u32, manifests: &Path, row: &str) -> Result<Figure> {
    let started = Instant::now();
    let mut bytes = 0;
    for entry in fs::read_dir(manifests)? {
        bytes += fs::read(entry?.path())?.len();
    }
    let floor = started.elapsed();
    let program = binary()?.to_string_lossy().into_owned();
    let path = manifests.to_string_lossy().into_owned();
    let arguments = ["run", "--once", "-f", &path, "--hostname-override", NODE];
    let mut times = Vec::new();
    for _ in 0..if services > 10_000 { 1 } else { ROUNDS } {
        let namespace = Namespace::new("bench")?;
        let started = Instant::now();
        namespace.filter(&program, &arguments, "")?;
        times.push(started.elapsed());
    }
    let floor = Unit::Time.show(floor.as_secs_f64());
    let megabytes = Unit::Bytes.show(bytes as f64);
    Ok(Figure::new(row, best(times).as_secs_f64()).with(format!("{floor} for {megabytes}")))
}

/// The resident memory of `run` once the kernel is equal to the manifests, and again after a file was removed and has
/// returned.
fn watching(manifests: &Path) -> Result<Figure> {
    let namespace = Namespace::new("bench")?;
    let agent = Running::start(&namespace, manifests, &[])?;
    let process = agent.0.id().to_string();
    let synced = resident(&process)?;
    let applied = || {
        let answer = get(&namespace, (Ipv4Addr::LOCALHOST, METRICS).into(), "/metrics")?;
        let line = answer.body.lines().find_map(|line| line.strip_prefix(CHANGES)?.strip_prefix(' '))?;
        line.parse::<u64>().ok()
    };
    let file = fs::read_dir(manifests)?.next().ok_or("no manifests")??.path();
    let text = fs::read(&file)?;
    for change in [None, Some(text)] {
        let before = applied();
        change.map_or_else(|| fs::remove_file(&file), |text| fs::write(&file, text))?;
        eventually(LIMIT, || applied() > before).ok_or("portolan run did not see a change")?;
    }
    let changed = Unit::Bytes.show(resident(&process)?);
    Ok(Figure::new("resident-run", synced).with(changed))
}

fn spawn(namespace: &Namespace, manifests: &Path, arguments: &[&str], log: File) -> Result<Child> {
    // setpriv, which becomes the agent, has it killed when this process ends.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary()?).args(["run", "--hostname-override", NODE, "-f"]);
    command.arg(manifests).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Ok(namespace.enter(move || command.spawn())?)
}

/// An agent, which is killed when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts the agent with these arguments, and waits until the kernel is equal to the manifests.
    pub fn start(namespace: &Namespace, manifests: &Path, arguments: &[&str]) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let mut agent = Self(spawn(namespace, manifests, arguments, log.reopen()?)?);
        let mut ended = None;
        let synced = eventually(LIMIT, || {
            std::thread::sleep(Duration::from_millis(20));
            ended = agent.0.try_wait().ok().flatten();
            ended.is_some() || fs::read_to_string(log.path()).is_ok_and(|log| log.contains("In sync:"))
        });
        if ended.is_some() || synced.is_none() {
            let log = fs::read_to_string(log.path())?;
            return Err(format!("portolan run did not start: {log}").into());
        }
        Ok(agent)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The agent may have ended already; nothing else can be done about a failure here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
