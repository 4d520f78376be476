//! How a check ended.

use serde::Serialize;

portolan_rules::named! {
    /// How a check ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Status {
        /// All is well.
        Ok = "ok",
        /// The check could not be done, for the reason in its message.
        Skipped = "skipped",
        /// Something to know or to do; the agent would serve.
        Warning = "warning",
        /// The agent would not start, or Services would go unserved.
        Failed = "failed",
    }
}

/// One result of a check; a check may have several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, such as `ports`.
    pub name: &'static str,
    pub status: Status,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it; empty if there is nothing to do.
    pub hint: String,
}

/// Returns the results of a check. If there are none, adds one that all is well.
pub fn or_ok(mut checks: Vec<Check>, name: &'static str, message: &str) -> Vec<Check> {
    if checks.is_empty() {
        checks.push(Check::ok(name, message));
    }
    checks
}

impl Check {
    pub fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, message: message.into(), hint: String::new() }
    }

    pub fn skipped(name: &'static str, message: impl Into<String>) -> Self {
        Self { status: Status::Skipped, ..Self::ok(name, message) }
    }

    pub fn warning(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: Status::Warning, hint: hint.into(), ..Self::ok(name, message) }
    }

    pub fn failed(name: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: Status::Failed, hint: hint.into(), ..Self::ok(name, message) }
    }
}
