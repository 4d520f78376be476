//! `precheck`: whether this node could be served, before anything is changed.

mod cluster;
mod configuration;
mod host;
mod neighbours;
mod outcome;
mod rules;
mod sockets;

use std::{fmt::Write as _, process::ExitCode};

use portolan_rules::picture;
use serde_json::{Value, json};

use self::outcome::{Check, Status};
use super::arguments::{FailOn, PrecheckArgs, PrecheckOutput};

/// Checks this node: exit status 0 nothing that counts, 1 something, 2 an error.
pub fn precheck(args: &PrecheckArgs) -> ExitCode {
    let settings = match args.settings() {
        Ok(settings) => settings,
        Err(error) => {
            super::output::fail(&error);
            return ExitCode::from(2);
        }
    };
    let mut checks = configuration::check(&settings);
    checks.extend(host::check(&settings));
    checks.extend(rules::check(&settings.node.config));
    checks.extend(neighbours::check(&settings));
    checks.extend(sockets::check(&settings, &args.service_node_port_range));
    checks.extend(cluster::check(&settings));
    let text = match args.output {
        PrecheckOutput::Text => text(&checks, &settings.node.node_name),
        PrecheckOutput::Json => format!("{:#}\n", value(&checks, &settings.node.node_name)),
    };
    let worst = checks.iter().map(|check| check.status).max();
    let least = match args.fail_on {
        FailOn::Error => Status::Failed,
        FailOn::Warning => Status::Warning,
    };
    match super::output::print(text.as_bytes()) {
        ExitCode::SUCCESS if worst >= Some(least) => ExitCode::from(1),
        ExitCode::SUCCESS => ExitCode::SUCCESS,
        _ => ExitCode::from(2),
    }
}

fn count(checks: &[Check], status: Status) -> usize {
    checks.iter().filter(|check| check.status == status).count()
}

fn text(checks: &[Check], node: &str) -> String {
    let mut text = String::new();
    for Check { name, status, message, hint } in checks {
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{:<7} {name}: {message}", status.name());
        if !hint.is_empty() {
            let _ = writeln!(text, "        {hint}");
        }
    }
    let _ = writeln!(
        text,
        "node {node}: {} failed, {}, {} ok, {} skipped",
        count(checks, Status::Failed),
        picture::count(count(checks, Status::Warning), "warning", "warnings"),
        count(checks, Status::Ok),
        count(checks, Status::Skipped)
    );
    text
}

fn value(checks: &[Check], node: &str) -> Value {
    let list = checks.iter().map(|Check { name, status, message, hint }| {
        json!({ "name": name, "status": status.name(), "message": message, "hint": hint })
    });
    json!({
        "node": node,
        "version": env!("CARGO_PKG_VERSION"),
        "failed": count(checks, Status::Failed),
        "warnings": count(checks, Status::Warning),
        "checks": list.collect::<Vec<_>>(),
    })
}
