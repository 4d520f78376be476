//! `trace`: reports what happens to a connection, and why.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr};

use clap::Args;
use portolan_rules::{
    explanation::{
        Origin,
        trace::{Trace, answer, destination, origin},
    },
    model::{ObjectName, Protocol},
    ruleset::Family,
    simulate::{self, Fate, Memory},
};

use super::{
    arguments::ViewArgs,
    explain::{Compared, Scene},
    output::Ended,
};
use crate::{
    kernel::conntrack::{self, Bounds, Flow},
    observe::query::Wanted,
};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 the connection reaches an endpoint, 1 it is refused, dropped or left alone, 2 an error.

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
        help = "Where it goes: svc/NAMESPACE/NAME[:PORT], NAME.NAMESPACE.svc[:PORT], ADDRESS:PORT, or :NODEPORT"
    )]
    pub to: String,

    /// Protocol of the connection
    #[arg(short, long, value_name = "PROTOCOL", value_parser = protocol, default_value = "tcp")]
    pub protocol: Protocol,

    /// The node whose view is explained.
    #[command(flatten)]
    pub view: ViewArgs,
}

fn protocol(text: &str) -> Result<Protocol, &'static str> {
    let lower = text.to_ascii_lowercase();
    Protocol::from_name(&lower).ok_or("must be tcp, udp or sctp")
}

/// Traces a connection. Exit status: 0 if it reaches an endpoint, 1 if it does not, 2 for an error.
pub fn trace(args: &TraceArgs) -> Ended {
    let scene = Scene::open_for(&args.view, &Wanted::of_destination(&args.to).unwrap_or(Wanted::All))?;
    let view = scene.view();
    let no_service = |name: &ObjectName| scene.no_service(&args.view, name);
    let to = destination(&view, &args.to, args.protocol, no_service)?;
    let origin = origin(&view, &args.from, Family::of(to.ip()))?;
    let mut trace = Trace::new(&view, origin, to, args.protocol);
    let kernel = kernel(&scene, origin, &mut trace);
    let mut text = format!("{}\n", trace.answer());
    text.extend(trace.ladder(&view).iter().flat_map(|step| ["  ", step, "\n"]));
    text.push_str(&kernel);
    if args.view.source.logging.verbosity > 0 {
        text.push_str("\nRules\n");
        text.push_str(&simulate::explain(&trace.outcome));
    }
    text.push('\n');
    text.push_str(&scene.origin);
    text.push('\n');
    scene.print(text.as_bytes(), trace.reaches())
}

/// Reports whether the kernel does the same. If the kernel remembers the client, traces the connection as one of this
/// client.
fn kernel(scene: &Scene, origin: Origin, trace: &mut Trace) -> String {
    let mut compared = match Compared::read_for(scene, &trace.packet) {
        Ok(None) => return String::new(),
        Ok(Some(compared)) => compared,
        Err(error) => return format!("  the kernel cannot be read: {error}\n"),
    };
    let first = compared.view(&scene.view()).meet(&trace.packet, &Memory::new());
    if !Compared::is_same(&trace.outcome, &first) {
        let text = format!("  but the kernel's tables do otherwise: {}\n", answer(&first));
        return text + &connections(origin, trace);
    }
    let mut text = String::new();
    if scene.live.is_some() {
        text.push_str("  the kernel's tables do the same\n");
    }
    match compared.memory(scene.table(), &first) {
        Ok(memory) => {
            let view = scene.view();
            *trace = Trace::remembering(&compared.view(&view), origin, trace.to(), trace.protocol, &memory);
        }
        // Writing into a `String` does not fail.
        Err(error) => _ = writeln!(text, "  the clients that the kernel remembers cannot be read: {error}"),
    }
    text + &connections(origin, trace)
}

/// Reports the tracked connections to the destination, and whether their endpoints take new connections as well.
fn connections(origin: Origin, trace: &Trace) -> String {
    let (to, protocol) = (trace.to(), trace.protocol);
    let flows = match conntrack::list(&[(protocol, to)], Bounds::NONE) {
        Ok(listed) => listed.flows,
        Err(error) => return format!("  {error}\n"),
    };
    let of_client = |flow: &Flow| match origin {
        Origin::Address(address) => flow.client.ip() == address,
        Origin::Pod | Origin::Node | Origin::Outside => true,
    };
    let mut endpoints: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for flow in flows.iter().filter(|flow| of_client(flow)) {
        *endpoints.entry(flow.endpoint).or_default() += 1;
    }
    let count: usize = endpoints.values().sum();
    let connections = if count == 1 { "connection" } else { "connections" };
    let whose = if matches!(origin, Origin::Address(_)) { " of this client" } else { "" };
    let mut text = format!("  connection tracking has {count} {connections}{whose} there\n");
    let fates = trace.outcome.fates();
    for (endpoint, count) in endpoints {
        let takes_new = fates.keys().any(|fate| matches!(fate, Fate::Sent { to, .. } if *to == endpoint));
        let stale = if takes_new { "" } else { ", which takes no new connections of this client" };
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "    {count} to {endpoint}{stale}");
    }
    text
}
