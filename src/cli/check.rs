//! `check`: reports what keeps Services from answering.

use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use portolan_rules::{
    explanation::{Finding, Reason, Severity},
    picture::count,
};
use serde_json::{Value, json};

use super::{arguments::ViewArgs, explain::Scene, output::Ended};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 no finding as severe as --fail-on, 1 there is one, 2 an error.

Examples:
  portolan check -f manifests/ --fail-on warning
  portolan check -f manifests/ -o sarif > portolan.sarif";

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Output format of the findings
    #[arg(short, long, value_enum, default_value_t = CheckOutput::Text)]
    pub output: CheckOutput,

    /// Exit with status 1 if a finding has this severity or a worse one
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    pub fail_on: FailOn,

    /// Findings to ignore: a file with a code and NAMESPACE/NAME on each line
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// The same as -f
    #[arg(value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    pub paths: Vec<PathBuf>,

    /// The node whose view is checked.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckOutput {
    /// Plain text.
    Text,
    /// An array of findings.
    Json,
    /// SARIF 2.1.0, as code scanning services read it.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

/// Which findings make `check` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Errors.
    Error,
    /// Errors and warnings.
    Warning,
}

/// Reports the findings of all Services. Exit status: 0 if no finding is as severe as `--fail-on`, 1 if one is, 2 for
/// an error.
pub fn check(args: &CheckArgs) -> Ended {
    let mut view = args.view.clone();
    view.source.filenames.extend(args.paths.iter().cloned());
    let scene = Scene::open(&view)?;
    let baseline = args.baseline.as_deref().map(baseline).transpose()?.unwrap_or_default();
    let is_known = |finding: &Finding| {
        baseline.contains(&(finding.reason.code().to_owned(), finding.service.to_string()))
    };
    let (services, usable) = scene.findings();
    let unusable = scene.unusable.iter().map(|(name, message)| {
        let reason = Reason::UnusableObject { message: message.as_str().into() };
        Finding { severity: reason.severity(), reason, service: name.clone(), subject: String::new() }
    });
    let all = usable.into_iter().chain(unusable);
    let findings: Vec<Finding> = all.filter(|finding| !is_known(finding)).collect();
    let text = match args.output {
        CheckOutput::Text => text(&findings, services, &scene.origin),
        CheckOutput::Json => {
            format!("{:#}\n", Value::from(findings.iter().map(value).collect::<Vec<_>>()))
        }
        CheckOutput::Sarif => format!("{:#}\n", sarif(&findings)),
        CheckOutput::Github => github(&findings),
    };
    let least = match args.fail_on {
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
    };
    let status = scene.print(text.as_bytes(), findings.iter().all(|finding| finding.severity < least));
    // The process is about to end, so its memory need not be freed piece by piece.
    std::mem::forget(scene);
    status
}

/// Reads the codes and Services to ignore. Skips empty lines and lines that begin with `#`.
fn baseline(path: &Path) -> Result<HashSet<(String, String)>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut known = HashSet::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            [code, service] if service.contains('/') => {
                known.insert(((*code).to_owned(), (*service).to_owned()));
            }
            _ => {
                let place = format!("{}, line {}", path.display(), number + 1);
                return Err(format!("{place}: expected a code and NAMESPACE/NAME, found {line:?}"));
            }
        }
    }
    Ok(known)
}

/// Returns what a finding is about.
fn subject(finding: &Finding) -> String {
    match &*finding.subject {
        "" => format!("Service {}", finding.service),
        subject => format!("Service {}, {subject}", finding.service),
    }
}

fn text(findings: &[Finding], services: usize, origin: &str) -> String {
    let mut text = String::new();
    for finding in findings {
        let reason = &finding.reason;
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{:<7} {}: {reason}", finding.severity.name(), subject(finding));
        let _ = writeln!(text, "        {} [{}]: {}", reason.field(), reason.code(), reason.hint());
    }
    let of = |severity, one, many| {
        count(findings.iter().filter(|finding| finding.severity == severity).count(), one, many)
    };
    let _ = writeln!(
        text,
        "{}, {}, {}, {}; {origin}",
        count(services, "Service", "Services"),
        of(Severity::Error, "error", "errors"),
        of(Severity::Warning, "warning", "warnings"),
        of(Severity::Info, "note", "notes")
    );
    text
}

fn value(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.name(),
        "code": finding.reason.code(),
        "service": finding.service.to_string(),
        "subject": finding.subject,
        "field": finding.reason.field(),
        "message": finding.reason.to_string(),
        "hint": finding.reason.hint(),
    })
}

/// Returns the severity as a code host names it. `info` is the host's own word for findings that are no problem.
fn level(finding: &Finding, info: &'static str) -> &'static str {
    if finding.severity == Severity::Info { info } else { finding.severity.name() }
}

fn sarif(findings: &[Finding]) -> Value {
    let result = |finding: &Finding| {
        let name = format!("Service/{}/{}", finding.service, finding.reason.field());
        json!({
            "ruleId": finding.reason.code(),
            "level": level(finding, "note"),
            "message": { "text": format!("{}: {}. Hint: {}", subject(finding), finding.reason, finding.reason.hint()) },
            "locations": [{ "logicalLocations": [{ "fullyQualifiedName": name }] }],
        })
    };
    let results: Vec<Value> = findings.iter().map(result).collect();
    let codes: BTreeSet<&str> = findings.iter().map(|finding| finding.reason.code()).collect();
    let rules: Vec<Value> = codes.into_iter().map(|code| json!({ "id": code })).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "portolan", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn github(findings: &[Finding]) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut text = String::new();
    for finding in findings {
        let command = level(finding, "notice");
        let message = format!("{}: {} ({})", subject(finding), finding.reason, finding.reason.hint());
        let _ = writeln!(text, "::{command} title={}::{}", finding.reason.code(), escape(&message));
    }
    text
}
