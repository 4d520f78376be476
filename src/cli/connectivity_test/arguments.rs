//! Arguments of `connectivity-test`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::{cli::arguments::ViewArgs, config::parse_duration};

/// The text at the end of the help.
pub const HELP: &str = "\
Creates servers through the API server, in Pods and in the host network of every node, with a Service for every kind of
frontend, and removes them afterwards, also after an error, SIGINT or SIGTERM. Each server connects to each frontend, and
so does this process, which must run on a node or in a Pod: ClusterIP, node port, load balancer address, in both families.
docker/kustomize/connectivity-test runs the same test as a Job.

With SERVICE nothing is created: the endpoints of SERVICE and of --source must run `portolan connectivity-test --serve`,
on one port for TCP and UDP.

Exit status: 0 every connection was answered, 1 some were not, 2 an error, 130 and 143 a signal.

Examples:
  portolan connectivity-test --kubeconfig admin.conf
  portolan connectivity-test --image REGISTRY/portolan:0.2.0 --load-balancer --timeout 5m
  portolan connectivity-test --serve --port 8080
  portolan connectivity-test test/server --source test/node --kubeconfig admin.conf";

/// Arguments of `connectivity-test`.
#[derive(Args, Clone, Debug)]
pub struct ConnectivityTestArgs {
    /// Service to connect to, NAMESPACE/NAME, rather than Services created for the test
    #[arg(value_name = "SERVICE", conflicts_with = "serve")]
    pub service: Option<String>,

    /// Answer connections, and open connections when a test requests it, until SIGTERM
    #[arg(long)]
    pub serve: bool,

    /// Port to answer on with --serve
    #[arg(long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Image of the created servers [default: the image of this Pod, or of an agent's Pod]
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["service", "serve"])]
    pub image: Option<String>,

    /// Namespace in which to create the servers [default: a namespace created for the test]
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["service", "serve"])]
    pub namespace: Option<String>,

    /// Ask for a load balancer as well, which clouds may charge for, and wait for its address
    #[arg(long, conflicts_with_all = ["service", "serve"])]
    pub load_balancer: bool,

    /// How long to wait until everything that was created is ready
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration, conflicts_with_all = ["service", "serve"])]
    pub timeout: Duration,

    /// Another Service whose endpoints connect as well, such as one of Pods in the host's network: NAMESPACE/NAME; may be
    /// repeated
    #[arg(long = "source", value_name = "SERVICE", requires = "service")]
    pub sources: Vec<String>,

    /// Number of connections of each kind
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub attempts: u16,

    /// Output format of the results
    #[arg(short, long, value_enum, default_value_t = ConnectivityTestOutput::Text)]
    pub output: ConnectivityTestOutput,

    /// Where the Services come from.
    #[command(flatten)]
    pub view: ViewArgs,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("is not a duration such as 30s or 1m30s")
}

/// Output format of `connectivity-test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConnectivityTestOutput {
    /// A table.
    Text,
    /// An object with all results.
    Json,
}
