//! A virtual machine, from its start until it ends.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{Error, image::Image, packages::Kernel, report::Report};

/// How long a virtual machine may run. On two idle cores, it takes a few minutes.
const LIMIT: Duration = Duration::from_hours(1);
/// The kernel's command line: end with the first process, and do not mistake a slow machine for a stuck one.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 rdinit=/init mitigations=off random.trust_cpu=1 nowatchdog \
                            rcupdate.rcu_cpu_stall_suppress=1 -- guest";

/// Boots a kernel and waits until the machine has ended. Its console output is kept in a file.
pub fn boot(directory: &Path, kernel: &Kernel, image: &Image) -> Result<Report, Error> {
    let console = directory.join(format!("{}.log", kernel.release()));
    let results = directory.join(format!("{}.json", kernel.release()));
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-accel",
        "tcg",
        "-cpu",
        "max,la57=off",
        "-smp",
        "1",
        "-m",
        "1G",
        "-no-reboot",
        "-nodefaults",
    ]);
    command.args(["-display", "none"]).arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
    for file in [&console, &results] {
        fs::write(file, "")?;
        command.arg("-serial").arg(format!("file:{}", file.display()));
    }
    command.args(["-append", COMMAND_LINE]).stdin(Stdio::null());
    let started = Instant::now();
    let mut machine = command.spawn().map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let status = loop {
        if let Some(status) = machine.try_wait()? {
            break status;
        }
        if started.elapsed() > LIMIT {
            machine.kill()?;
            break machine.wait()?;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let report = Report::read(&fs::read_to_string(results)?, started.elapsed());
    if !report.is_complete() {
        let log = String::from_utf8_lossy(&fs::read(&console)?).into_owned();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        eprintln!(
            "Linux {} ended before its checks did ({status}, after {:.0?}); see {}",
            kernel.version,
            started.elapsed(),
            console.display()
        );
    }
    Ok(report)
}
