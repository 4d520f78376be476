//! The command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

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
    #[command(after_help = "Exit status: 0 all input was used, 1 some was not (one line each on stderr).

Examples:
  portolan render -f web.yaml
  portolan render -f web.yaml --cluster-cidr 10.128.0.0/14 -o json
  portolan render -f web.yaml | nft -c -f -")]
    Render(RenderArgs),

    /// Show what would change in the kernel
    #[command(after_help = "Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync")]
    Diff(InputArgs),

    /// Program the kernel and keep it equal to the manifests
    #[command(
        after_help = "Without --once, stays and applies every change of the files until SIGTERM, which leaves
the rules in place.

Exit status: 0 done, 1 an error, or with --once some input was not used.

Examples:
  portolan run -f manifests/ --cluster-cidr 10.128.0.0/14,fd00:128::/56
  portolan run -f web.yaml --once"
    )]
    Run(RunArgs),

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

    /// How much to log.
    #[command(flatten)]
    pub logging: LoggingArgs,

    /// Facts of the node. Last, as their heading holds for all that follows.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// Facts of the node, with kube-proxy's names and meanings.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Node")]
pub struct NodeArgs {
    /// Name of this node.
    #[arg(long, value_name = "NAME", help = "Name of this node [default: $NODE_NAME, else the host's name]")]
    pub hostname_override: Option<String>,

    /// Networks of the pods in the cluster, one a family, separated by a comma; traffic to a ClusterIP
    /// from elsewhere is masqueraded
    #[arg(long, value_name = "CIDR,…", default_value = "", hide_default_value = true)]
    pub cluster_cidr: String,

    /// Networks of this node's addresses that answer node ports, or `primary`: the first address of each
    /// family of the Node object, every address if there is none
    #[arg(long, value_name = "CIDR,…", default_value = "primary")]
    pub nodeport_addresses: String,

    /// How connections of pods are told from others: ClusterCIDR, NodeCIDR (of the Node object),
    /// BridgeInterface or InterfaceNamePrefix
    #[arg(long, value_name = "MODE", default_value = "ClusterCIDR")]
    pub detect_local_mode: String,

    /// Bridge of this node's pods, for BridgeInterface
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub pod_bridge_interface: String,

    /// Beginning of the names of pods' interfaces, for InterfaceNamePrefix
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub pod_interface_name_prefix: String,

    /// Networks of ClusterIPs besides those of ServiceCIDR objects; an address in them that no Service has
    /// meets silence
    #[arg(long, value_name = "CIDR,…", default_value = "", hide_default_value = true)]
    pub service_cluster_ip_range: String,

    /// Bit of the packet mark, 0 to 31, that asks for masquerading
    #[arg(long, alias = "iptables-masquerade-bit", value_name = "BIT", default_value = "14")]
    pub masquerade_bit: String,

    /// Masquerade all traffic to ClusterIPs
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        hide_possible_values = true
    )]
    pub masquerade_all: bool,
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

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Program the kernel once and exit
    #[arg(long)]
    pub once: bool,

    /// Address and port of the health server; empty to have none
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:10256")]
    pub healthz_bind_address: String,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Arguments of `cleanup`.
#[derive(Args, Debug)]
pub struct CleanupArgs {
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

    #[test]
    fn masquerade_all_is_a_switch_that_also_takes_a_value() {
        let parse = |flag: &[&str]| {
            let cli = Cli::try_parse_from([&["portolan", "diff", "-f", "x"], flag].concat()).unwrap();
            let Command::Diff(input) = cli.command else { panic!("diff was parsed") };
            input.node.masquerade_all
        };
        assert!(!parse(&[]));
        assert!(parse(&["--masquerade-all"]));
        assert!(parse(&["--masquerade-all=true"]));
        assert!(!parse(&["--masquerade-all=false"]));
    }
}
