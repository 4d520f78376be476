//! `version`: prints the version, and what the binary runs on.

use std::{collections::BTreeSet, fs, path::Path};

use clap::ValueEnum;
use portolan_rules::plane::Config;
use serde_json::{Value, json};

use super::output::{self, Ended};
use crate::kernel::nftables::Kernel;

/// Output format of `version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionOutput {
    /// Plain text.
    Text,
    /// An object.
    Json,
}

/// Prints the version, the commit, what the kernel can do, and the libraries that are loaded.
pub fn version(output: VersionOutput) -> Ended {
    let version = env!("CARGO_PKG_VERSION");
    // Set in builds of releases.
    let commit = option_env!("PORTOLAN_COMMIT").filter(|commit| !commit.is_empty());
    let kernel = Kernel::open().and_then(|mut kernel| kernel.probe(&Config::default().table));
    let libraries = libraries(&fs::read_to_string("/proc/self/maps").unwrap_or_default());
    let text = match output {
        VersionOutput::Json => {
            let kernel: Value = match &kernel {
                Ok(features) => {
                    let names = features.to_string();
                    let names: Vec<&str> = names.split(' ').filter(|name| !name.is_empty()).collect();
                    json!({ "release": features.release.to_string(), "features": names })
                }
                Err(error) => json!({ "error": error.to_string() }),
            };
            let all = json!({
                "version": version, "commit": commit, "architecture": std::env::consts::ARCH, "kernel": kernel,
                "libraries": libraries,
            });
            format!("{all:#}\n")
        }
        VersionOutput::Text => {
            let kernel = match &kernel {
                Ok(features) => format!("{}, with {features}", features.release),
                Err(error) => format!("unknown: {error}"),
            };
            let libraries = Vec::from_iter(libraries).join(", ");
            let commit = commit.unwrap_or("unknown");
            format!("portolan {version}\ncommit: {commit}\nkernel: {kernel}\nlibraries: {libraries}\n")
        }
    };
    output::end(text, 0)
}

/// Returns the shared libraries among the files that a process has mapped (`/proc/PID/maps`). The file names contain
/// the versions.
fn libraries(maps: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let names = paths.filter_map(|path| Path::new(path).file_name()?.to_str());
    names.filter(|name| name.contains(".so")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_mapped_files_of_that_name() {
        let maps = "\
559 r-xp 0000 fe:00 1 /usr/bin/portolan
7f0 r--p 0000 fe:00 2 /usr/lib/x86_64-linux-gnu/libnftnl.so.11.6.0
7f1 r-xp 1000 fe:00 2 /usr/lib/x86_64-linux-gnu/libnftnl.so.11.6.0
7f2 rw-p 0000 00:00 0
7f3 rw-p 0000 00:00 0 [heap]
7f4 r-xp 0000 fe:00 3 /usr/lib/libmnl.so.0.2.0
";
        assert_eq!(Vec::from_iter(libraries(maps)), ["libmnl.so.0.2.0", "libnftnl.so.11.6.0"]);
    }
}
