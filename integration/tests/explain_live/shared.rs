//! Runs the binary as an operator on a node would.

use std::process::Output;

use portolan_integration::{Namespace, binary};

/// The exit status and the output of a command.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// Returns the output on one line, without line breaks from wrapping.
    pub fn unbroken(&self) -> String {
        self.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Runs the binary in a namespace.
#[track_caller]
pub fn portolan(namespace: &Namespace, arguments: &[&str]) -> Answer {
    let binary = binary().unwrap();
    namespace.output(&binary.to_string_lossy(), arguments, "").unwrap().into()
}
