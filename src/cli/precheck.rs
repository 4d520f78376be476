//! `precheck`: checks whether this node could be served, before anything is changed.

mod cluster;
mod configuration;
mod host;
mod neighbours;
mod outcome;
mod rules;
mod sockets;

use std::{fmt::Write as _, ops::RangeInclusive, path::PathBuf};

use clap::{Args, ValueEnum};
use portolan_rules::picture;
use serde_json::{Value, json};

use self::outcome::{Check, Status};
use super::{
    check::FailOn,
    output::{self, Ended},
    run::optional_path,
};
use crate::config::{Error, RunFlags, boolean, settings::RunSettings};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Takes the flags and the configuration file of `run`.

Exit status: 0 no check failed, 1 a check failed (or, with --fail-on warning, gave a warning), 2 an error.

Examples:
  portolan precheck --config /var/lib/kube-proxy/config.conf
  portolan precheck --kubeconfig /etc/kubernetes/proxy.conf -o json";

/// Arguments of `precheck`, with the arguments of `run` that apply in a cluster.
#[derive(Args, Clone, Debug)]
pub struct PrecheckArgs {
    /// Output format of the checks
    #[arg(short, long, value_enum, default_value_t = PrecheckOutput::Text)]
    pub output: PrecheckOutput,

    /// Exit with status 1 if a check has this result or a worse one
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,

    /// Range of the cluster's node ports, as in the API server's flag of this name
    #[arg(long, value_name = "FROM-TO", value_parser = ports, default_value = "30000-32767")]
    pub service_node_port_range: RangeInclusive<u16>,

    /// File with a KubeProxyConfiguration, as for `run`
    #[arg(long, value_name = "FILE", value_parser = optional_path())]
    pub config: Option<PathBuf>,

    /// Refuse a configuration file with unknown or repeated fields, as `run` does
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = boolean)]
    pub strict_config: Option<bool>,

    /// Options of the agent.
    #[command(flatten)]
    pub options: RunFlags,
}

impl PrecheckArgs {
    /// Returns the settings that `run` would have.
    pub fn settings(&self) -> Result<RunSettings, Error> {
        RunSettings::resolve(&self.options.0, self.config.as_deref(), self.strict_config == Some(true))
    }
}

/// Output format of `precheck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PrecheckOutput {
    /// Plain text.
    Text,
    /// An object with all checks.
    Json,
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, &'static str> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
        (Ok(from), Ok(to)) if 0 < from && from <= to => Ok(from..=to),
        _ => Err("must be two ports such as 30000-32767"),
    }
}

/// Checks this node. Exit status: 0 if no check has the result of `--fail-on` or a worse one, 1 if one has, 2 for an
/// error.
pub fn precheck(args: &PrecheckArgs) -> Ended {
    let settings = args.settings()?;
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
    output::end(text, worst >= Some(least))
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
    json!({
        "node": node,
        "version": env!("CARGO_PKG_VERSION"),
        "failed": count(checks, Status::Failed),
        "warnings": count(checks, Status::Warning),
        "checks": checks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_not_empty() {
        assert_eq!(ports("30000-32767"), Ok(30000..=32767));
        assert_eq!(ports("30000"), Ok(30000..=30000));
        for wrong in ["", "0-5", "5-4", "a-b", "1-70000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
