//! Arguments of `run`.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};

use super::input::ManifestArgs;
use crate::config::{Error, RunFlags, boolean, settings::RunSettings};

/// The end of the help.
pub(super) const HELP: &str = "\
Takes kube-proxy's flags and its configuration file. Without -f, Services and EndpointSlices come from
the API server. Stays until SIGTERM, which leaves the rules in place. --help lists all flags.

Exit status: 0 done, 1 an error, a changed configuration file, or with --once some input was not used.

Examples:
  portolan run --config /var/lib/kube-proxy/config.conf --hostname-override $NODE_NAME
  portolan run --kubeconfig /etc/kubernetes/proxy.conf --cluster-cidr 10.128.0.0/14,fd00:128::/56
  portolan run -f web.yaml --once";

/// Arguments of `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct RunArgs {
    /// File or directory with manifests (YAML or JSON), or - for standard input, in place of an API server; may
    /// be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", conflicts_with_all = ["kubeconfig", "master", "remove-taint"])]
    pub filenames: Vec<PathBuf>,

    /// Program the kernel once and exit; needs -f
    #[arg(long, requires = "filenames")]
    pub once: bool,

    /// Give Services of manifests without a ClusterIP, node port or load balancer address stand-ins, and workloads Pods, as
    /// `render` does
    #[arg(long, requires = "filenames")]
    pub stand_ins: bool,

    /// What to accept of manifests.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// File with a KubeProxyConfiguration (v1alpha1), as kubeadm writes it; most flags have no effect beside it
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub config: Option<PathBuf>,

    /// Refuse a configuration file with fields that are unknown or there twice, rather than warn of them
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub strict_config: Option<bool>,

    /// Print the resolved configuration and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub show_config: Option<bool>,

    /// Write the resolved configuration to a file and exit
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub write_config_to: Option<PathBuf>,

    /// Set the sysctls of connection tracking, which needs more privileges than NET_ADMIN, and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub init_only: Option<bool>,

    /// Remove Portolan's tables and exit, as `portolan cleanup`
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub cleanup: Option<bool>,

    /// Options of the agent.
    #[command(flatten)]
    pub options: RunFlags,
}

impl RunArgs {
    /// Reads the configuration file, if one is given, and checks it and the flags.
    pub fn settings(&self) -> Result<RunSettings, Error> {
        RunSettings::resolve(&self.options.0, self.config.as_deref(), self.strict_config == Some(true))
    }
}

/// Reads a path that may be empty, which is the same as none: scripts write down every flag that they know.
pub(super) fn optional_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::config::options::{
        CLUSTER_CIDR, MASQUERADE_ALL, NODEPORT_ADDRESSES, OOM_SCORE_ADJ, VERBOSITY,
    };

    fn run(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let command = RunArgs::augment_args(clap::Command::new("run").args_override_self(true));
        RunArgs::from_arg_matches(&command.try_get_matches_from([&["run"], flags].concat())?)
    }

    #[test]
    fn switches_are_written_as_in_go() {
        let all = |flags: &[&str]| {
            run(flags).unwrap().options.0.get(&MASQUERADE_ALL).and_then(serde_json::Value::as_bool)
        };
        assert_eq!(all(&[]), None);
        assert_eq!(all(&["--masquerade-all"]), Some(true));
        for (text, value) in [("true", true), ("1", true), ("T", true), ("false", false), ("0", false)] {
            assert_eq!(all(&[&format!("--masquerade-all={text}")]), Some(value));
        }
        assert!(run(&["--masquerade-all=maybe"]).is_err());
    }

    #[test]
    fn of_a_repeated_flag_the_last_counts_and_lists_grow() {
        let args =
            run(&["--cluster-cidr=10.0.0.0/8", "--cluster-cidr", "172.16.0.0/12", "-v2", "--v=4"]).unwrap();
        assert_eq!(args.options.0.text(&CLUSTER_CIDR), "172.16.0.0/12");
        assert_eq!(args.options.0.number::<u32>(&VERBOSITY), 4);
        let args = run(&["--nodeport-addresses=10.0.0.0/8", "--nodeport-addresses=fd00::/8"]).unwrap();
        assert_eq!(args.options.0.list(&NODEPORT_ADDRESSES).collect::<Vec<_>>(), ["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(run(&["-f", "a", "-f", "b"]).unwrap().filenames.len(), 2);
    }

    #[test]
    fn negative_numbers_may_follow_a_blank() {
        for flags in [&["--oom-score-adj", "-998"][..], &["--oom-score-adj=-998"]] {
            assert_eq!(run(flags).unwrap().options.0.number::<i64>(&OOM_SCORE_ADJ), -998);
        }
    }

    #[test]
    fn manifests_take_the_place_of_an_api_server() {
        assert!(run(&["-f", "x", "--master", "https://192.0.2.1"]).is_err());
        assert!(run(&["-f", "x", "--kubeconfig", "y"]).is_err());
        assert!(run(&["--once"]).is_err());
        assert!(run(&["--once", "-f", "x"]).is_ok());
    }
}
