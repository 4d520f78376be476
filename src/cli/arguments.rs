//! The command line.

mod explain;
mod spelling;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use self::{
    explain::{
        CheckArgs, CheckOutput, DescribeCommand, DescribeServiceArgs, FailOn, TraceArgs, ViewArgs, When,
    },
    spelling::normalize,
};
use crate::config::arguments::{ManifestArgs, NodeArgs, RunArgs};

/// Portolan turns Kubernetes Services and EndpointSlices into nftables rules that never grow.
#[derive(Debug, Parser)]
#[command(
    name = "portolan",
    version,
    about,
    long_about = None,
    after_help = "Examples:
  portolan render -f manifests/            print the rules for this node; needs no privileges
  portolan diff -f manifests/              show what would change in the kernel
  portolan run --config config.conf        take kube-proxy's place on this node
  portolan run -f manifests/ --once        program the kernel and exit
  kubectl get svc,endpointslices,pods,nodes -A -o yaml | portolan render -f -"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the full ruleset for this node, without touching the kernel
    #[command(
        args_override_self = true,
        after_help = "Exit status: 0 all input was used, 1 some was not (one line each on stderr). If a path cannot be read or
nothing could be used of it, nothing is printed: `nft -f -` then changes nothing.

Examples:
  portolan render -f web.yaml
  portolan render -f web.yaml --cluster-cidr 10.128.0.0/14 -o json
  portolan render -f web.yaml | nft -c -f -"
    )]
    Render(RenderArgs),

    /// Show what would change in the kernel
    #[command(
        args_override_self = true,
        after_help = "Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync"
    )]
    Diff(InputArgs),

    /// Explain a Service: where its frontends lead, and what is left out and why
    #[command(
        subcommand_required = true,
        after_help = "Exit status: 0 the Service is there, 1 it is not, 2 an error.

Examples:
  portolan describe service shop/web -f manifests/ --node node-1"
    )]
    Describe {
        /// What is described.
        #[command(subcommand)]
        command: DescribeCommand,
    },

    /// Say what becomes of a connection, and why
    #[command(
        args_override_self = true,
        after_help = "Exit status: 0 it reaches an endpoint, 1 it is refused, dropped or left alone, 2 an error.

Examples:
  portolan trace outside svc/shop/web:80 -f manifests/ --node node-1
  portolan trace pod/shop/client 10.96.0.10:53 -p udp -f manifests/
  portolan trace outside=203.0.113.10 :30080 -f manifests/"
    )]
    Trace(TraceArgs),

    /// Report what keeps Services from answering
    #[command(
        args_override_self = true,
        after_help = "Exit status: 0 nothing to fail for, 1 something, 2 an error.

Examples:
  portolan check -f manifests/ --fail-on warning
  portolan check -f manifests/ -o sarif > portolan.sarif"
    )]
    Check(CheckArgs),

    /// Be this node's service proxy: program the kernel and keep it equal to the cluster, or to manifests
    #[command(
        display_name = "portolan",
        version,
        args_override_self = true,
        after_help = "Takes kube-proxy's flags and its configuration file. Without -f, Services and EndpointSlices come from
the API server. Stays until SIGTERM, which leaves the rules in place. --help lists all flags.

Exit status: 0 done, 1 an error, a changed configuration file, or with --once some input was not used.

Examples:
  portolan run --config /var/lib/kube-proxy/config.conf --hostname-override $NODE_NAME
  portolan run --kubeconfig /etc/kubernetes/proxy.conf --cluster-cidr 10.128.0.0/14,fd00:128::/56
  portolan run -f web.yaml --once"
    )]
    Run(Box<RunArgs>),

    /// Remove Portolan's tables from the kernel; nothing else is touched
    #[command(after_help = "Exit status: 0 the tables are gone or never were, 1 an error.")]
    Cleanup(CleanupArgs),

    /// Print a completion script for a shell
    #[command(after_help = "Examples:
  portolan completions bash > /usr/share/bash-completion/completions/portolan")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print a manual page, in roff
    #[command(after_help = "Examples:
  portolan man > portolan.1
  portolan man run > portolan-run.1")]
    Man {
        /// Of this subcommand, rather than of portolan itself
        #[arg(value_name = "COMMAND")]
        subcommand: Option<String>,
    },
}

/// Manifests, and what must be known of the node.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// File or directory with manifests (YAML or JSON), or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    pub filenames: Vec<PathBuf>,

    /// What to take of them.
    #[command(flatten)]
    pub manifests: ManifestArgs,

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// Facts of the node. Last, as their heading holds for all that follows.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// How much to log.
#[derive(Args, Clone, Copy, Debug)]
pub struct LoggingArgs {
    /// Verbosity: 0 to 3 what an operator cares about, 4 and more for debugging
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
}

/// Arguments of `render`.
#[derive(Args, Debug)]
pub struct RenderArgs {
    /// Notation: what `nft -f` takes, or libnftables JSON
    #[arg(short, long, value_enum, default_value_t = Output::Nft)]
    pub output: Output,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Notation of `render`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// nft's own.
    Nft,
    /// libnftables JSON.
    Json,
}

/// Arguments of `cleanup`.
#[derive(Args, Debug)]
pub struct CleanupArgs {
    /// Name of the tables to remove
    #[arg(long, value_name = "NAME", help = "Name of the tables to remove [default: portolan]")]
    pub table_name: Option<String>,

    /// Remove the tables of kube-proxy's nftables mode instead, once it no longer runs on this node
    #[arg(long, conflicts_with = "table_name")]
    pub kube_proxy: bool,

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,
}

/// The definition of the command line, for completions and the manual page.
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    fn run(flags: &[&str]) -> Result<RunArgs, clap::Error> {
        let cli = Cli::try_parse_from([&["portolan", "run"], flags].concat())?;
        let Command::Run(args) = cli.command else { panic!("run was parsed") };
        Ok(*args)
    }

    #[test]
    fn switches_are_written_as_in_go() {
        let all = |flags: &[&str]| run(flags).unwrap().node.masquerade_all;
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
        assert_eq!(args.node.cluster_cidr.as_deref(), Some("172.16.0.0/12"));
        assert_eq!(args.process.verbosity, Some(4));
        let args = run(&["--nodeport-addresses=10.0.0.0/8", "--nodeport-addresses=fd00::/8"]).unwrap();
        assert_eq!(args.node.nodeport_addresses, ["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(run(&["-f", "a", "-f", "b"]).unwrap().filenames.len(), 2);
    }

    #[test]
    fn negative_numbers_may_follow_a_blank() {
        assert_eq!(run(&["--oom-score-adj", "-998"]).unwrap().process.oom_score_adj, Some(-998));
        assert_eq!(run(&["--oom-score-adj=-998"]).unwrap().process.oom_score_adj, Some(-998));
    }

    #[test]
    fn manifests_take_the_place_of_an_api_server() {
        assert!(run(&["-f", "x", "--master", "https://192.0.2.1"]).is_err());
        assert!(run(&["-f", "x", "--kubeconfig", "y"]).is_err());
        assert!(run(&["--once"]).is_err());
        assert!(run(&["--once", "-f", "x"]).is_ok());
    }
}
