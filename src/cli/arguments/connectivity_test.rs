//! The arguments of `connectivity-test`.

use clap::{Args, ValueEnum};

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
The endpoints of SERVICE must be of `portolan connectivity-test --serve`, on one port of TCP and UDP. Each of them, those of
--source, and this process connect to each frontend: ClusterIP, node port, load balancer address, in both families.
docker/kustomize/connectivity-test has all that it takes in a cluster.

Exit status: 0 every connection was answered, 1 some were not, 2 an error.

Examples:
  portolan connectivity-test --serve --port 8080
  portolan connectivity-test test/server --source test/node --kubeconfig admin.conf";

/// Arguments of `connectivity-test`.
#[derive(Args, Debug)]
pub struct ConnectivityTestArgs {
    /// The Service to connect to: NAMESPACE/NAME
    #[arg(value_name = "SERVICE", required_unless_present = "serve", conflicts_with = "serve")]
    pub service: Option<String>,

    /// Answer connections, and connect where a test asks for it, until SIGTERM
    #[arg(long)]
    pub serve: bool,

    /// Port to answer on with --serve
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Another Service whose endpoints connect as well, such as one of Pods in the host's network: NAMESPACE/NAME; may be
    /// repeated
    #[arg(long = "source", value_name = "SERVICE")]
    pub sources: Vec<String>,

    /// Connections of each kind
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub attempts: u16,

    /// Notation of the results
    #[arg(short, long, value_enum, default_value_t = ConnectivityTestOutput::Text)]
    pub output: ConnectivityTestOutput,

    /// Where the Services come from.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Notation of `connectivity-test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConnectivityTestOutput {
    /// A table.
    Text,
    /// An object with all results.
    Json,
}
