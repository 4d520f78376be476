//! The walk-through, as `make demo` runs it.

use std::process::Command;

#[test]
fn every_act_does_what_it_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).env("NO_COLOR", "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for act in 1..=4 {
        assert!(stdout.contains(&format!("Act {act}")), "{stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "no escape sequences with NO_COLOR:\n{stdout}");
}
