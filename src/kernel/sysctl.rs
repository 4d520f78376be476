//! Sets sysctls of connection tracking, and the agent's out-of-memory score.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread::available_parallelism,
};

use tracing::{debug, info, warn};

use crate::config::{
    options::{
        CONNTRACK_MAX_PER_CORE, CONNTRACK_MIN, CONNTRACK_TCP_BE_LIBERAL, CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT,
        CONNTRACK_TCP_TIMEOUT_ESTABLISHED, CONNTRACK_UDP_TIMEOUT, CONNTRACK_UDP_TIMEOUT_STREAM,
        OOM_SCORE_ADJ, Row,
    },
    settings::{ConntrackSettings, Requested},
};

/// Upper bound of the limit that is derived from the number of CPUs: on a machine with a hundred CPUs, a proportional
/// hash table would waste memory.
const MAX_BY_CPUS: u64 = 1 << 20;

/// The sysctl of the limit. The size of the hash table follows it.
const LIMIT: &str = "nf_conntrack_max";

/// Which values to set, and which failures are errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Sets all values; each failure is an error (`--init-only`).
    Everything,
    /// Sets all values; only explicit ones must succeed, and one warning lists the defaults that cannot be set.
    Explicit,
    /// Sets explicit values, which must succeed; leaves defaults alone.
    OnlyExplicit,
}

/// A sysctl could not be set.
#[derive(Debug, thiserror::Error)]
#[error("cannot set {name} to {value}{}: {source}", was.as_ref().map(|was| format!(" (it is {was})")).unwrap_or_default())]
pub struct SysctlError {
    /// The option that configures it.
    pub option: &'static Row,
    /// Name of the file, such as `nf_conntrack_max`.
    name: String,
    /// The value that it should have.
    value: i64,
    /// The value that it has, if it can be read.
    was: Option<String>,
    /// The cause.
    source: io::Error,
}

impl SysctlError {
    /// Whether more privileges would help.
    pub fn is_about_privileges(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self.source.kind(), PermissionDenied | ReadOnlyFilesystem)
    }
}

/// A value to set, and the option that configures it.
struct Wanted {
    /// Name of the file, such as `nf_conntrack_max`.
    name: &'static str,
    option: &'static Row,
    value: i64,
    /// Whether the value is configured, rather than the default.
    is_explicit: bool,
}

impl Wanted {
    /// Whether a file may keep its value. A default does not lower a limit that was set before.
    fn is_met(&self, is: i64) -> bool {
        is == self.value || (self.name == LIMIT && !self.is_explicit && is > self.value)
    }
}

/// A sysctl whose value differs from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the file, such as `nf_conntrack_max`.
    pub name: &'static str,
    /// The value that it has.
    pub is: i64,
    /// The value that it should have.
    pub wanted: i64,
    /// Whether that value is configured, rather than the default.
    pub is_explicit: bool,
}

/// The locations of the kernel's settings.
#[derive(Debug)]
pub struct Sysctls {
    netfilter: PathBuf,
    hash_size: PathBuf,
    cpus: PathBuf,
}

impl Default for Sysctls {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Sysctls {
    /// The settings under another root directory than `/`.
    pub fn under(root: &Path) -> Self {
        Self {
            netfilter: root.join("proc/sys/net/netfilter"),
            hash_size: root.join("sys/module/nf_conntrack/parameters/hashsize"),
            cpus: root.join("sys/devices/system/cpu/online"),
        }
    }

    /// Whether the kernel has these sysctls, which it does once connection tracking is loaded.
    pub fn are_there(&self) -> bool {
        self.netfilter.join(LIMIT).exists()
    }

    /// Sets limits and timeouts of connection tracking. Writes only values that differ.
    pub fn apply(&self, settings: &ConntrackSettings, effort: Effort) -> Result<(), SysctlError> {
        let mut failures = Vec::new();
        for wanted in wanted(settings, self.cpu_count()) {
            let is_explicit = wanted.is_explicit;
            if effort == Effort::OnlyExplicit && !is_explicit {
                continue;
            }
            match self.set(&wanted) {
                Err(error) if is_explicit || effort == Effort::Everything => return Err(error),
                result => failures.extend(result.err().map(|error| error.to_string())),
            }
        }
        if !failures.is_empty() {
            warn!(
                error = failures.join("; "),
                "Defaults of connection tracking are not in force; `portolan run --init-only` sets them, with more \
                 privileges"
            );
        }
        Ok(())
    }

    /// The values that [`Sysctls::apply`] would write, but this process may not.
    pub fn unwritable(&self, settings: &ConntrackSettings) -> Vec<Difference> {
        let difference = |wanted: Wanted| {
            let path = self.netfilter.join(wanted.name);
            let is = number(&path).filter(|is| !wanted.is_met(*is))?;
            let Wanted { name, value, is_explicit, .. } = wanted;
            let is_writable = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).is_ok();
            (!is_writable).then_some(Difference { name, is, wanted: value, is_explicit })
        };
        wanted(settings, self.cpu_count()).into_iter().filter_map(difference).collect()
    }

    /// The number of tracked connections, and its limit.
    pub fn tracked(&self) -> Option<(u64, u64)> {
        let number = |name| number(&self.netfilter.join(name)).and_then(|number| u64::try_from(number).ok());
        Some((number("nf_conntrack_count")?, number(LIMIT)?))
    }

    fn set(&self, wanted: &Wanted) -> Result<(), SysctlError> {
        let path = self.netfilter.join(wanted.name);
        if number(&path).is_none_or(|is| !wanted.is_met(is)) {
            write_if_different(&path, wanted.value, wanted.option)?;
        }
        // The chains of the hash table have four entries on average.
        let size = wanted.value / 4;
        if wanted.name == LIMIT && number(&self.hash_size).is_none_or(|now| now < size) {
            write_if_different(&self.hash_size, size, wanted.option)?;
        }
        Ok(())
    }

    /// Number of CPUs of the machine. A container may have fewer, but the table holds the connections of the whole
    /// machine.
    fn cpu_count(&self) -> u64 {
        let online = fs::read_to_string(&self.cpus).ok().and_then(|list| count(&list));
        online.unwrap_or_else(|| available_parallelism().map_or(1, |count| count.get() as u64))
    }
}

/// Number of items in a list of ranges such as `0-3,5`.
fn count(list: &str) -> Option<u64> {
    let ranges = list.trim().split(',').map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        to.parse::<u64>().ok()?.checked_sub(from.parse().ok()?)?.checked_add(1)
    });
    ranges.sum::<Option<u64>>().filter(|count| *count > 0)
}

/// The values to set, in order. Zero leaves the kernel's value alone.
fn wanted(settings: &ConntrackSettings, cpus: u64) -> Vec<Wanted> {
    let (per_core, min) = (settings.max_per_core, settings.min);
    let scaled = (u64::from(per_core.value) * cpus).min(MAX_BY_CPUS);
    let limit = Requested {
        value: if per_core.value > 0 { scaled.max(min.value.into()) } else { 0 },
        is_explicit: per_core.is_explicit || min.is_explicit,
    };
    let limit_option = if min.is_explicit { &CONNTRACK_MIN } else { &CONNTRACK_MAX_PER_CORE };
    let liberal = Requested { value: settings.tcp_be_liberal.into(), is_explicit: true };
    let established = settings.tcp_established;
    let wishes = [
        (LIMIT, limit_option, limit),
        ("nf_conntrack_tcp_timeout_established", &CONNTRACK_TCP_TIMEOUT_ESTABLISHED, established),
        ("nf_conntrack_tcp_timeout_close_wait", &CONNTRACK_TCP_TIMEOUT_CLOSE_WAIT, settings.tcp_close_wait),
        ("nf_conntrack_udp_timeout", &CONNTRACK_UDP_TIMEOUT, settings.udp),
        ("nf_conntrack_udp_timeout_stream", &CONNTRACK_UDP_TIMEOUT_STREAM, settings.udp_stream),
        ("nf_conntrack_tcp_be_liberal", &CONNTRACK_TCP_BE_LIBERAL, liberal),
    ];
    let wanted = |(name, option, wish): (&'static str, &'static Row, Requested<u64>)| {
        let value = i64::try_from(wish.value).unwrap_or(i64::MAX);
        (value > 0).then_some(Wanted { name, option, value, is_explicit: wish.is_explicit })
    };
    wishes.into_iter().filter_map(wanted).collect()
}

/// Sets this process's score for the out-of-memory killer. Lowering it requires `CAP_SYS_RESOURCE`; without that
/// capability, the score is left alone.
pub fn set_oom_score(wish: Requested<i32>) {
    match write_if_different(Path::new("/proc/self/oom_score_adj"), i64::from(wish.value), &OOM_SCORE_ADJ) {
        Ok(()) => {}
        Err(error) if wish.is_explicit => warn!(%error, "The OOM score stays as it is"),
        // The kubelet gives a critical pod a score nearly as low.
        Err(error) => debug!(%error, "The OOM score stays as it is"),
    }
}

/// The number in a file, if it can be read and is one.
fn number(path: &Path) -> Option<i64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write_if_different(path: &Path, value: i64, option: &'static Row) -> Result<(), SysctlError> {
    let now = fs::read_to_string(path).map(|text| text.trim().to_owned());
    if now.as_ref().is_ok_and(|now| now.parse() == Ok(value)) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let was = now.as_ref().ok().cloned();
    // A file that cannot be read does not exist: connection tracking is not loaded.
    match now.and_then(|_| fs::write(path, value.to_string())) {
        Ok(()) => {
            info!(%name, value, was = was.unwrap_or_default(), "Sysctl set");
            Ok(())
        }
        Err(source) => Err(SysctlError { option, name, value, was, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Options, options::HOSTNAME_OVERRIDE, settings::RunSettings};

    fn settings(given: &[(&Row, &str)]) -> ConntrackSettings {
        let options = Options::of(&[&[(&HOSTNAME_OVERRIDE, "node-a")], given].concat());
        RunSettings::resolve(&options, None, false).unwrap().conntrack
    }

    fn max(given: &[(&Row, &str)], cpus: u64) -> Option<i64> {
        let wanted = wanted(&settings(given), cpus);
        wanted.iter().find(|wanted| wanted.name == "nf_conntrack_max").map(|wanted| wanted.value)
    }

    /// A root directory with the files of a kernel of one CPU, tracking 1000 connections.
    fn kernel() -> (tempfile::TempDir, Sysctls) {
        let root = tempfile::tempdir().unwrap();
        let sysctls = Sysctls::under(root.path());
        fs::create_dir_all(&sysctls.netfilter).unwrap();
        fs::create_dir_all(sysctls.hash_size.parent().unwrap()).unwrap();
        fs::create_dir_all(sysctls.cpus.parent().unwrap()).unwrap();
        fs::write(&sysctls.cpus, "0\n").unwrap();
        fs::write(&sysctls.hash_size, "250\n").unwrap();
        for (name, value) in [
            ("nf_conntrack_max", "1000\n"),
            ("nf_conntrack_tcp_timeout_established", "432000\n"),
            ("nf_conntrack_tcp_timeout_close_wait", "60\n"),
            ("nf_conntrack_udp_timeout", "30\n"),
            ("nf_conntrack_udp_timeout_stream", "120\n"),
            ("nf_conntrack_tcp_be_liberal", "0\n"),
        ] {
            fs::write(sysctls.netfilter.join(name), value).unwrap();
        }
        (root, sysctls)
    }

    fn value(sysctls: &Sysctls, name: &str) -> String {
        fs::read_to_string(sysctls.netfilter.join(name)).unwrap().trim().to_owned()
    }

    #[test]
    fn the_limit_grows_with_the_cpus_between_bounds() {
        assert_eq!(max(&[], 2), Some(131_072));
        assert_eq!(max(&[], 8), Some(262_144));
        assert_eq!(max(&[], 96), Some(1_048_576));
        assert_eq!(max(&[(&CONNTRACK_MIN, "2000000")], 96), Some(2_000_000));
        assert_eq!(max(&[(&CONNTRACK_MAX_PER_CORE, "0")], 96), None);
    }

    #[test]
    fn cpus_are_counted_in_ranges() {
        assert_eq!(count("0-3,5,8-9\n"), Some(7));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count(""), None);
        assert_eq!(count("3-1"), None);
    }

    #[test]
    fn defaults_and_wishes_are_written() {
        let (_root, sysctls) = kernel();
        let wishes = settings(&[(&CONNTRACK_UDP_TIMEOUT, "45s"), (&CONNTRACK_TCP_BE_LIBERAL, "true")]);
        sysctls.apply(&wishes, Effort::Explicit).unwrap();
        for (name, expected) in [
            ("nf_conntrack_max", "131072"),
            ("nf_conntrack_tcp_timeout_established", "86400"),
            ("nf_conntrack_tcp_timeout_close_wait", "3600"),
            ("nf_conntrack_udp_timeout", "45"),
            ("nf_conntrack_udp_timeout_stream", "120"),
            ("nf_conntrack_tcp_be_liberal", "1"),
        ] {
            assert_eq!(value(&sysctls, name), expected, "{name}");
        }
        assert_eq!(fs::read_to_string(&sysctls.hash_size).unwrap(), "32768");
    }

    #[test]
    fn a_part_of_a_second_is_rounded_up() {
        let (_root, sysctls) = kernel();
        for (time, seconds) in [("1us", "1"), ("500ms", "1"), ("1s1ns", "2"), ("3s", "3")] {
            let wishes = settings(&[(&CONNTRACK_UDP_TIMEOUT, time)]);
            sysctls.apply(&wishes, Effort::OnlyExplicit).unwrap();
            assert_eq!(value(&sysctls, "nf_conntrack_udp_timeout"), seconds, "{time}");
        }
    }

    #[test]
    fn with_manifests_only_what_was_asked_for_is_written() {
        let (_root, sysctls) = kernel();
        let wishes = settings(&[(&CONNTRACK_UDP_TIMEOUT_STREAM, "300s")]);
        sysctls.apply(&wishes, Effort::OnlyExplicit).unwrap();
        assert_eq!(value(&sysctls, "nf_conntrack_max"), "1000");
        assert_eq!(value(&sysctls, "nf_conntrack_udp_timeout_stream"), "300");
    }

    #[test]
    fn a_default_that_cannot_be_set_is_forgiven_unless_it_is_all_there_is_to_do() {
        let (_root, sysctls) = kernel();
        fs::remove_file(sysctls.netfilter.join("nf_conntrack_max")).unwrap();
        assert!(sysctls.apply(&settings(&[]), Effort::Explicit).is_ok());
        assert_eq!(value(&sysctls, "nf_conntrack_tcp_timeout_close_wait"), "3600");
        let error = sysctls.apply(&settings(&[]), Effort::Everything).unwrap_err().to_string();
        assert_eq!(error, "cannot set nf_conntrack_max to 131072: No such file or directory (os error 2)");
        let wish = settings(&[(&CONNTRACK_MIN, "200000")]);
        assert!(sysctls.apply(&wish, Effort::Explicit).is_err());
    }

    #[test]
    fn the_limit_is_lowered_only_on_request() {
        let (_root, sysctls) = kernel();
        fs::write(sysctls.netfilter.join(LIMIT), "262144\n").unwrap();
        sysctls.apply(&settings(&[]), Effort::Everything).unwrap();
        assert_eq!(value(&sysctls, LIMIT), "262144");
        let wish = settings(&[(&CONNTRACK_MAX_PER_CORE, "1000"), (&CONNTRACK_MIN, "0")]);
        sysctls.apply(&wish, Effort::Explicit).unwrap();
        assert_eq!(value(&sysctls, LIMIT), "1000");
    }

    #[test]
    fn what_is_right_already_is_not_written() {
        let (_root, sysctls) = kernel();
        let path = sysctls.netfilter.join("nf_conntrack_tcp_timeout_close_wait");
        // The kernel's notation stays, so nothing was written.
        fs::write(&path, "3600\n").unwrap();
        sysctls.apply(&settings(&[]), Effort::Everything).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3600\n");
    }
}
