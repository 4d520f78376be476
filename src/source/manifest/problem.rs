//! What is wrong with manifests, for whoever logs it.

use std::{fmt, path::Path, sync::Arc};

use tracing::{error, warn};

use super::contents::Trouble;
use crate::text::one_line;

/// Something wrong in a manifest: displayed as one line, `FILE[:LINE]: [OBJECT: ][FIELD: ]MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file or directory; `-` is standard input.
    pub file: Arc<Path>,
    /// Line, counted from 1, of what cannot be read as YAML or JSON.
    pub line: Option<u64>,
    /// The object, such as `Service default/web`, or where it is if it has no usable name.
    pub object: Option<String>,
    /// Path of the field, such as `spec.ports[0].port`.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", one_line(self.file.display().to_string()))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Problem {
    /// A problem with a file or directory itself.
    pub(super) fn of_file(file: &Arc<Path>, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self { file: Arc::clone(file), line: None, object: None, field: None, message }
    }

    pub(super) fn new(file: &Arc<Path>, trouble: Trouble) -> Self {
        let file = Arc::clone(file);
        let (object, fault) = match trouble {
            Trouble::Unread(message) => return Self::of_file(&file, one_line(message)),
            Trouble::Text { line, message } => {
                return Self { file, line, object: None, field: None, message: one_line(message) };
            }
            Trouble::Nameless { kind, place, fault } => {
                (kind.map_or_else(|| place.clone(), |kind| format!("{kind} in {place}")), fault)
            }
            Trouble::Object(issue) => (issue.object.to_string(), issue.fault),
        };
        let field = Some(one_line(fault.field)).filter(|field| !field.is_empty());
        Self { file, line: None, object: Some(object), field, message: one_line(fault.message) }
    }
}

/// Logs what is newly wrong.
pub fn report(warnings: &[Problem], errors: &[Problem]) {
    for warning in warnings {
        warn!("{warning}");
    }
    for error in errors {
        error!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_whatever_the_file_is_called() {
        let file: Arc<Path> = Path::new("a\nb\x1b[31m.yaml").into();
        let problem = Problem::of_file(&file, "cannot be read: no");
        assert_eq!(problem.to_string(), "a\\nb\\u{1b}[31m.yaml: cannot be read: no");
    }
}
