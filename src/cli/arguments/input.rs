//! Arguments shared by all commands that read manifests.

use std::path::PathBuf;

use clap::Args;

use crate::config::RulesFlags;

/// Where the state comes from, and the options of the rules.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// File or directory with manifests (YAML or JSON), a pattern such as '*.yaml', or - for standard input; may be
    /// repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub filenames: Vec<PathBuf>,

    /// Read the objects from the cluster of this kubeconfig, not from manifests
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig to use [default: its current context]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// What to accept in manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// Read the subdirectories of directories, too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    /// Use no stand-ins: leave out Services without a ClusterIP, and Pods that exist only as a template. Without this
    /// flag, stand-ins replace what a cluster would assign, and the output marks them
    #[arg(long)]
    pub no_stand_ins: bool,

    /// Without a Node object, answer node ports at the addresses of this machine's interfaces
    #[arg(long)]
    pub host_addresses: bool,

    /// File with a KubeProxyConfiguration, as `run` takes it; the rules use its settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// Options of the rules.
    #[command(flatten)]
    pub options: RulesFlags,
}

impl SourceArgs {
    /// Whether the arguments name a cluster.
    pub const fn is_cluster(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }
}

/// The input of commands that need one.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("filenames", |argument| {
    argument.required_unless_present_any(["paths", "kubeconfig", "context"])
}))]
pub struct InputArgs {
    /// The same as -f
    #[arg(value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub paths: Vec<PathBuf>,

    /// Only the Services of this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Where the input comes from.
    #[command(flatten)]
    pub source: SourceArgs,
}

impl InputArgs {
    /// Returns the source, with the paths given without a flag and those of `-f`.
    pub fn source(&self) -> SourceArgs {
        let filenames = self.paths.iter().chain(&self.source.filenames).cloned().collect();
        SourceArgs { filenames, ..self.source.clone() }
    }
}

/// What to accept in manifests.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ManifestArgs {
    /// Accept input without objects as "no Services": an empty file or standard input, a directory without manifests;
    /// without this flag, these are errors and change nothing
    #[arg(long)]
    pub allow_empty: bool,

    /// Maximum size of a file in bytes, or with the suffix Ki, Mi or Gi [default: 1Gi]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_file_size: Option<u64>,
}

/// How much to log.
#[derive(Args, Clone, Copy, Debug)]
pub struct LoggingArgs {
    /// Verbosity: 0 to 3 for operators, 4 and more for debugging; 1 without LEVEL
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
}

/// Parses a number of bytes, with the suffixes of Kubernetes quantities for powers of two.
fn size(text: &str) -> Result<u64, &'static str> {
    const INVALID: &str = "must be a number of bytes, or one with Ki, Mi or Gi";
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = unit.unwrap_or((text, 0));
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(INVALID);
    }
    let number: u64 = number.parse().map_err(|_| INVALID)?;
    number.checked_mul(1 << bits).ok_or(INVALID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(size("4Ki"), Ok(4096));
        assert_eq!(size("2Gi"), Ok(2 << 30));
        for wrong in ["", "Ki", "-1", "+1", "1K", "1.5Gi", "1 Gi", "99999999999Gi"] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }
}
