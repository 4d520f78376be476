//! The first process of the virtual machine: runs the checks, writes their outcomes, and ends the machine.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    libc::O_NONBLOCK,
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

use crate::{
    Error,
    checks::{CHECKS, Tests},
    report::{Line, Outcome},
};

/// The serial line that the host writes to a file.
const RESULTS: &str = "/dev/ttyS1";
/// How long the tests of one executable may take.
const LIMIT: Duration = Duration::from_mins(20);
/// Bits of `/proc/sys/kernel/tainted` that stand for faults: a machine check, a bad page, an oops, a warning, a
/// lock-up.
const FAULTS: u64 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14;
/// Words that begin a fault in the kernel's log.
const WORDS: [&str; 6] =
    ["WARNING:", "BUG:", "Oops", "general protection fault", "Call Trace:", "refcount_t:"];
/// Services of every kind.
const SERVICES: &str = include_str!("services.yaml");
const MANIFEST: &str = "/tmp/services.yaml";

/// Runs everything. If this returns, the kernel ends the machine.
pub fn run() -> ExitCode {
    if let Err(error) = checks() {
        println!("test_kernels: {error}");
    }
    // If this fails, the kernel panics because it has no first process, which ends the machine as well.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    ExitCode::FAILURE
}

fn checks() -> Result<(), Error> {
    prepare()?;
    let mut results = File::options().append(true).open(RESULTS)?;
    let mut write = |line: &Line| -> Result<(), Error> {
        let text = serde_json::to_string(line)? + "\n";
        Ok(results.write_all(text.as_bytes())?)
    };
    for (name, steps) in STEPS {
        write(&step_by_step(name, steps))?;
    }
    for (name, tests) in CHECKS {
        write(&tested(name, tests))?;
    }
    write(&step_by_step("no warning in the kernel's log", &[("log", no_warning)]))?;
    write(&Line::Features(features().unwrap_or_else(|error| error.to_string())))?;
    write(&Line::End)
}

/// Prepares everything that processes expect of a machine.
fn prepare() -> Result<(), Error> {
    for (kind, path) in
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"), ("tmpfs", "/run")]
    {
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
            .map_err(|error| format!("cannot mount {path}: {error}"))?;
    }
    symlink("/proc/self/fd", "/dev/fd")?;
    ran("ip", &["link", "set", "lo", "up"])?;
    Ok(fs::write(MANIFEST, SERVICES)?)
}

/// A step of a check.
type Step = (&'static str, fn() -> Result<(), Error>);

/// Checks of the binary only.
const STEPS: &[(&str, &[Step])] = &[
    ("without `numgen`: one line that names the option", &[("run --once", without_numgen)]),
    ("without `fib` over IPv6: a line, and IPv4 is served", &[("run --once", without_fib_over_ipv6)]),
    (
        "render, run, diff, a second run, cleanup",
        &[
            ("render", render),
            ("run --once", run_once),
            ("diff", diff_is_empty),
            ("a second run --once", second_run),
            ("cleanup", cleanup),
        ],
    ),
];

/// Runs one step after the other, until one fails.
fn step_by_step(check: &str, steps: &[Step]) -> Line {
    let started = Instant::now();
    let (mut passed, mut failures) = (0, Vec::new());
    for (name, step) in steps {
        if let Err(error) = step() {
            failures.push(format!("{name}: {error}"));
            break;
        }
        passed += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    Line::Outcome(Outcome { check: check.to_owned(), passed, all: steps.len(), failures, seconds })
}

fn without_numgen() -> Result<(), Error> {
    without_module("nft_numgen", || {
        let output = portolan("run", &["--once"])?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        require(output.status.code() == Some(1), &output)?;
        require(last.contains("numgen (CONFIG_NFT_NUMGEN)") && !last.contains("fib"), &output)?;
        require(tables()?.is_empty(), &output)
    })
}

fn without_fib_over_ipv6() -> Result<(), Error> {
    without_module("nft_fib_ipv6", || {
        let output = portolan("run", &["--once"])?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        require(output.status.success(), &output)?;
        let line = errors.lines().find(|line| line.contains("IPv6 is not served"));
        require(line.is_some_and(|line| line.contains("fib (CONFIG_NFT_FIB_IPV6)")), &output)?;
        require(tables()? == ["table ip portolan"], &output)?;
        diff_is_empty()
    })?;
    // A module that is available again is used from the next start on.
    second_family()
}

fn second_family() -> Result<(), Error> {
    let output = portolan("run", &["--once"])?;
    require(output.status.success(), &output)?;
    require(tables()? == ["table ip portolan", "table ip6 portolan"], &output)?;
    cleanup()
}

fn render() -> Result<(), Error> {
    let output = portolan("render", &[])?;
    require(output.status.success() && output.stderr.is_empty(), &output)?;
    // Not loaded with nft: the newest kernels refuse what Debian 12's nft makes of source ranges.
    let text = String::from_utf8_lossy(&output.stdout);
    require(["table ip portolan {", "table ip6 portolan {"].iter().all(|table| text.contains(table)), &output)
}

fn run_once() -> Result<(), Error> {
    let output = portolan("run", &["--once"])?;
    require(output.status.success(), &output)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let first = errors.lines().next().unwrap_or_default();
    require(first.contains(release.trim()) && first.contains("numgen"), &output)?;
    require(errors.contains("In sync") && !errors.contains("operations=0"), &output)?;
    require(tables()?.len() == 2, &output)
}

fn diff_is_empty() -> Result<(), Error> {
    let output = portolan("diff", &["-o", "nft"])?;
    require(output.status.success() && output.stdout.is_empty(), &output)
}

fn second_run() -> Result<(), Error> {
    let output = portolan("run", &["--once"])?;
    let errors = String::from_utf8_lossy(&output.stderr);
    require(output.status.success() && errors.contains("operations=0"), &output)
}

fn cleanup() -> Result<(), Error> {
    ran("portolan", &["cleanup"])?;
    let left = tables()?;
    if left.is_empty() { Ok(()) } else { Err(format!("left: {}", left.join(", ")).into()) }
}

/// Checks that the kernel has met no fault.
fn no_warning() -> Result<(), Error> {
    let tainted: u64 = fs::read_to_string("/proc/sys/kernel/tainted")?.trim().parse()?;
    let log = log()?;
    let lines: Vec<&str> =
        log.lines().filter(|line| WORDS.iter().any(|word| line.contains(word))).take(20).collect();
    if tainted & FAULTS == 0 && lines.is_empty() {
        return Ok(());
    }
    Err(format!("tainted {tainted:#x}\n{}", lines.join("\n")).into())
}

/// The kernel's log.
fn log() -> Result<String, Error> {
    let mut file = File::options().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg")?;
    let (mut log, mut record) = (String::new(), [0; 8192]);
    loop {
        match file.read(&mut record) {
            Ok(length) => log += &String::from_utf8_lossy(&record[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(log),
            // Records that were overwritten in the meantime.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => log += "(some records are lost)\n",
            Err(error) => return Err(error.into()),
        }
    }
}

/// Features of the kernel that Portolan does not require.
fn features() -> Result<String, Error> {
    const BEYOND: [&str; 4] = ["owned-tables", "batch-acknowledgement", "batch-generation", "element-counts"];
    // Twice: only with tables are there sets to ask about.
    portolan("run", &["--once"])?;
    let output = portolan("run", &["--once"])?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let first = errors.lines().next().unwrap_or_default();
    let words = first.split([' ', '"']).filter(|word| BEYOND.contains(word));
    Ok(words.collect::<Vec<_>>().join(", "))
}

/// Runs a `portolan` command on the manifest.
fn portolan(command: &str, arguments: &[&str]) -> Result<Output, Error> {
    let common =
        ["-f", MANIFEST, "--hostname-override", "node-a", "--cluster-cidr", "10.128.0.0/16,fd00:10:128::/48"];
    Ok(program("portolan").arg(command).args(arguments).args(common).output()?)
}

/// The existing tables, as nft names them.
fn tables() -> Result<Vec<String>, Error> {
    Ok(ran("nft", &["list", "tables"])?.lines().map(str::to_owned).collect())
}

fn program(name: &str) -> Command {
    let mut command = Command::new(Path::new("/bin").join(name));
    command.env("PATH", "/bin:/sbin").env("PORTOLAN_BIN", "/bin/portolan").stdin(Stdio::null());
    command
}

fn ran(name: &str, arguments: &[&str]) -> Result<String, Error> {
    crate::command::output(program(name).args(arguments))
}

fn require(holds: bool, output: &Output) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    let [text, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let text: Vec<&str> = text.lines().take(20).collect();
    Err(format!("{}\n{}\n{errors}", output.status, text.join("\n")).into())
}

/// Hides the module of this name from the kernel during a check.
fn without_module(name: &str, check: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let modules = Path::new("/lib/modules").join(release.trim()).join("kernel");
    let module = module(&modules, name)?.ok_or_else(|| format!("there is no module {name}"))?;
    let away = Path::new("/tmp").join(name);
    fs::copy(&module, &away)?;
    fs::remove_file(&module)?;
    // An earlier check may have loaded the module; if not, there is nothing to do.
    let _ = Command::new("/sbin/rmmod").arg(name).stderr(Stdio::null()).status();
    let outcome = check();
    fs::copy(&away, &module)?;
    outcome
}

/// The file of a module.
fn module(directory: &Path, name: &str) -> Result<Option<PathBuf>, Error> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_it =
            path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}.ko")));
        if is_it {
            return Ok(Some(path));
        }
        if path.is_dir()
            && let Some(found) = module(&path, name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Runs the tests of a check.
fn tested(check: &str, tests: &[Tests]) -> Line {
    let started = Instant::now();
    let (mut passed, mut all, mut failures) = (0, 0, Vec::new());
    for tests in tests {
        all += tests.names.len();
        match test(tests) {
            Ok((ok, output)) => {
                passed += ok;
                if ok < tests.names.len() {
                    failures.push(output);
                }
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    Line::Outcome(Outcome { check: check.to_owned(), passed, all, failures, seconds })
}

/// Runs tests of one executable, one after the other; returns how many passed, and their output. A test that does not
/// exist has not passed.
fn test(tests: &Tests) -> Result<(usize, String), Error> {
    let path = "/tmp/test.log";
    let log = File::create(path)?;
    let mut command = program(tests.executable);
    command.args(["--test-threads=1", "--exact"]).args(tests.names);
    let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = String::from_utf8_lossy(&fs::read(path)?).into_owned();
    let passed = tests.names.iter().filter(|name| output.contains(&format!("test {name} ... ok")));
    Ok((passed.count(), output))
}
