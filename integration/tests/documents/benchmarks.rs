//! The figures in the documents are the latest ones.

use std::process::Command;

#[test]
fn figures_are_current() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench_docs")).arg("--check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
