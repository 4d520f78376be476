//! Arguments of `trace`.

use clap::Args;
use portolan_rules::model::Protocol;

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 it reaches an endpoint, 1 it is refused, dropped or left alone, 2 an error.

Examples:
  portolan trace outside svc/shop/web:80 -f manifests/ --node node-1
  portolan trace pod/shop/client 10.96.0.10:53 -p udp -f manifests/
  portolan trace outside=203.0.113.10 :30080 -f manifests/";

/// Arguments of `trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Where the connection comes from: pod/NAMESPACE/NAME, an address, node, outside, or outside=ADDRESS
    #[arg(value_name = "FROM")]
    pub from: String,

    /// Where it goes to.
    #[arg(
        value_name = "TO",
        help = "Where it goes to: svc/NAMESPACE/NAME[:PORT], NAME.NAMESPACE.svc[:PORT], ADDRESS:PORT, or :NODEPORT"
    )]
    pub to: String,

    /// Its protocol
    #[arg(short, long, value_name = "PROTOCOL", value_parser = protocol, default_value = "tcp")]
    pub protocol: Protocol,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

fn protocol(text: &str) -> Result<Protocol, &'static str> {
    let lower = text.to_ascii_lowercase();
    Protocol::from_name(&lower).ok_or("must be tcp, udp or sctp")
}
