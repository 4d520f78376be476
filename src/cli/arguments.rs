//! The command line: the subcommands, and the arguments that several subcommands share. The arguments of a single
//! subcommand are in its file.

mod input;
mod spelling;
mod view;

use std::sync::LazyLock;

use clap::{CommandFactory, Parser, Subcommand};

pub use self::{
    input::{InputArgs, LoggingArgs, ManifestArgs, SourceArgs},
    spelling::normalize,
    view::ViewArgs,
};
pub use super::run::RunArgs;
use super::{
    bundle, check, cleanup, connectivity_test, describe, diff, draw, flows, get, oneshot, precheck, run, top,
    trace, version::VersionOutput,
};
use crate::config::Words;

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
    #[command(args_override_self = true, after_help = oneshot::HELP)]
    Render(oneshot::RenderArgs),

    /// Show what would change in the kernel, or what differs between two states of manifests
    #[command(args_override_self = true, after_help = diff::HELP)]
    Diff(diff::DiffArgs),

    /// Explain a Service: where its frontends lead, and what is left out and why
    #[command(subcommand_required = true, after_help = describe::HELP)]
    Describe {
        /// What is described.
        #[command(subcommand)]
        command: describe::DescribeCommand,
    },

    /// Explain what happens to a connection, and why
    #[command(args_override_self = true, after_help = trace::HELP)]
    Trace(trace::TraceArgs),

    /// Report what keeps Services from answering
    #[command(args_override_self = true, after_help = check::HELP)]
    Check(check::CheckArgs),

    /// List Services, endpoints or commits as they are on this node
    #[command(subcommand_required = true, after_help = get::HELP)]
    Get {
        /// What is listed.
        #[command(subcommand)]
        command: get::GetCommand,
    },

    /// List the live connections of Services, from connection tracking
    #[command(args_override_self = true, after_help = flows::HELP)]
    Flows(flows::FlowsArgs),

    /// Show live, on a terminal, how the Services of this node are used
    #[command(args_override_self = true, after_help = top::HELP)]
    Top(top::TopArgs),

    /// Write an archive for finding out what is wrong on this node
    #[command(args_override_self = true, after_help = bundle::HELP)]
    SupportBundle(bundle::BundleArgs),

    /// Draw Services: frontends, nodes and endpoints, with shares and what is left out
    #[command(args_override_self = true, after_help = draw::HELP)]
    Draw(draw::DrawArgs),

    /// Run as this node's service proxy: program the kernel, and keep it in step with the cluster, or with manifests
    #[command(display_name = "portolan", version, args_override_self = true, after_help = run::HELP)]
    Run(Box<RunArgs>),

    /// Check whether Portolan can serve this node, before it replaces kube-proxy; changes nothing
    #[command(args_override_self = true, after_help = precheck::HELP)]
    Precheck(Box<precheck::PrecheckArgs>),

    /// Connect to each frontend of a Service, from Pods, nodes and here
    #[command(args_override_self = true, after_help = connectivity_test::HELP)]
    ConnectivityTest(Box<connectivity_test::ConnectivityTestArgs>),

    /// Remove Portolan's tables from the kernel; nothing else is touched
    #[command(after_help = cleanup::HELP)]
    Cleanup(cleanup::CleanupArgs),

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
  portolan man run > portolan-run.1
  portolan man describe service")]
    Man {
        /// Command whose page to print [default: portolan itself]
        command: Vec<String>,
    },

    /// Print the version, the commit, the features of the kernel, and the loaded libraries
    #[command(after_help = "Examples:
  portolan version -o json")]
    Version {
        /// Output format
        #[arg(short, long, value_enum, default_value_t = VersionOutput::Text)]
        output: VersionOutput,
    },
}

/// Returns the definition of the command line. It suggests the names of the commands for the argument of `man`.
pub fn definition() -> clap::Command {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
    });
    let names = Words(NAMES.iter().map(String::as_str).collect());
    Cli::command().mut_subcommand("man", |man| man.mut_arg("command", |command| command.value_parser(names)))
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}
