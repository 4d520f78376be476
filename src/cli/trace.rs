//! `trace`: what becomes of a connection, and why.

use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, process::ExitCode};

use portolan_rules::{
    explanation::{
        Origin,
        trace::{answer, destination, ladder, origin},
    },
    model::{ObjectName, Protocol},
    ruleset::Family,
    simulate::{self, Fate, Outcome},
};

use super::{
    arguments::TraceArgs,
    explain::{self, Compared, Scene},
};
use crate::{
    kernel::conntrack::{Bounds, Conntrack, Flow},
    observe::query::Wanted,
};

/// Traces a connection: exit status 0 it reaches an endpoint, 1 it does not, 2 an error.
pub fn trace(args: &TraceArgs) -> ExitCode {
    let scene = match Scene::open_for(&args.view, &Wanted::of_destination(&args.to).unwrap_or(Wanted::All)) {
        Ok(scene) => scene,
        Err(code) => return code,
    };
    let view = scene.view();
    let no_service = |name: &ObjectName| scene.no_service(&args.view, name);
    let traced = destination(&view, &args.to, args.protocol, no_service).and_then(|to| {
        let origin = origin(&view, &args.from, Family::of(to.ip()))?;
        Ok((to, origin, view.send(origin, to, args.protocol.number())))
    });
    let (to, origin, outcome) = match traced {
        Ok(traced) => traced,
        Err(message) => {
            eprintln!("portolan: {message}");
            return explain::error();
        }
    };
    let reaches = outcome.fates().keys().any(|fate| matches!(fate, Fate::Sent { .. }));
    let mut text = format!("{}\n", answer(&outcome));
    text.extend(ladder(&view, to, args.protocol, &outcome).iter().flat_map(|step| ["  ", step, "\n"]));
    text.push_str(&kernel(&scene, (origin, to, args.protocol.number()), &outcome));
    if args.view.logging.verbosity > 0 {
        text.push_str("\nRules\n");
        text.push_str(&simulate::explain(&outcome));
    }
    text.push('\n');
    text.push_str(&scene.origin);
    text.push('\n');
    match super::print(text.as_bytes()) {
        ExitCode::SUCCESS if !scene.is_whole => explain::error(),
        ExitCode::SUCCESS if reaches => ExitCode::SUCCESS,
        ExitCode::SUCCESS => ExitCode::from(1),
        _ => explain::error(),
    }
}

/// Whether the kernel does the same, of a running agent.
fn kernel(scene: &Scene, (origin, to, protocol): (Origin, SocketAddr, u8), outcome: &Outcome) -> String {
    match Compared::read(scene) {
        None => String::new(),
        Some(Err(error)) => format!("  the kernel cannot be read: {error}\n"),
        Some(Ok(compared)) => {
            let found = compared.view(&scene.view()).send(origin, to, protocol);
            let tables = if Compared::is_same(outcome, &found) {
                "  the kernel's tables do the same\n".to_owned()
            } else {
                format!("  but the kernel's tables do otherwise: {}\n", answer(&found))
            };
            tables + &connections((origin, to, protocol), outcome)
        }
    }
}

/// The connections there that connection tracking has, and whether they lead where new ones would.
fn connections((origin, to, protocol): (Origin, SocketAddr, u8), outcome: &Outcome) -> String {
    let Some(protocol) = Protocol::from_number(protocol) else { return String::new() };
    let list = |mut conntrack: Conntrack| conntrack.list(&[(protocol, to)], Bounds::NONE);
    let flows = match Conntrack::open().and_then(list) {
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
    let fates = outcome.fates();
    for (endpoint, count) in endpoints {
        let takes_new = fates.keys().any(|fate| matches!(fate, Fate::Sent { to, .. } if *to == endpoint));
        let stale = if takes_new { "" } else { ", which takes no new connections of this client" };
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "    {count} to {endpoint}{stale}");
    }
    text
}
