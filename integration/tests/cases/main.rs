//! Input that users give to Portolan, correct or not: each file of `examples/cases` behaves as its first line or the
//! test says, and no message contains the words of a parser.

mod configuration;
mod diff;
mod mistakes;
mod plain;
mod served;

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use portolan_integration::binary;

/// The exit status and the output of a command.
struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Returns the path of a case.
fn case(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/cases").join(name);
    assert!(path.exists(), "{}", path.display());
    path
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary().unwrap());
    command.args(arguments).env("NODE_NAME", "node-1");
    command
}

/// Runs a command with `-f` and a case.
fn on(name: &str, arguments: &[&str]) -> Answer {
    command(arguments).arg("-f").arg(case(name)).output().unwrap().into()
}

/// Runs a command with `-f -` and this standard input.
fn on_input(input: &[u8], arguments: &[&str]) -> Answer {
    let mut child = command(arguments)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The input fits into the pipe's buffer.
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().into()
}
