//! Problems with manifests, for the log and for people.

use std::{fmt, path::Path, sync::Arc};

use tracing::{error, warn};

use super::contents::FileProblem;
use crate::text::one_line;

/// A problem with a manifest: displayed as one line, `FILE[:LINE]: [OBJECT: ][FIELD: ]MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file or directory; `-` is standard input.
    pub file: Arc<Path>,
    /// Line, counted from 1, of the text that cannot be read as YAML or JSON.
    pub line: Option<u64>,
    /// The object, such as `Service default/web`, or its place if it has no usable name.
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

    pub(super) fn new(file: &Arc<Path>, finding: FileProblem) -> Self {
        let (object, error) = match finding {
            FileProblem::Unread(message) => return Self::of_file(file, one_line(message)),
            FileProblem::Text { line, message } => {
                return Self { line, ..Self::of_file(file, one_line(message)) };
            }
            FileProblem::Nameless { kind, place, error } => {
                (kind.map_or_else(|| place.clone(), |kind| format!("{kind} in {place}")), error)
            }
            FileProblem::Object(problem) => (problem.object.to_string(), problem.error),
        };
        let field = Some(one_line(error.field)).filter(|field| !field.is_empty());
        Self { object: Some(object), field, ..Self::of_file(file, one_line(error.message)) }
    }
}

/// Logs new problems.
pub fn report(warnings: &[Problem], errors: &[Problem]) {
    for warning in warnings {
        warn!(error = %warning, "Part of a manifest ignored");
    }
    for error in errors {
        error!(%error, "Manifest cannot be used");
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
