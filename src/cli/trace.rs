//! `trace`: what becomes of a connection, and why.

use std::{net::SocketAddr, process::ExitCode};

use portolan_rules::{
    explanation::{
        Origin,
        trace::{answer, destination, ladder, origin},
    },
    model::ObjectName,
    ruleset::Family,
    simulate::{self, Fate, Outcome},
};

use super::{
    arguments::TraceArgs,
    explain::{self, Compared, Scene},
};
use crate::observe::query::Wanted;

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
            if Compared::is_same(outcome, &found) {
                "  the kernel's tables do the same\n".to_owned()
            } else {
                format!("  but the kernel's tables do otherwise: {}\n", answer(&found))
            }
        }
    }
}
