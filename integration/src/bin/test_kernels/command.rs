//! Runs programs and reports their errors.

use std::process::Command;

use crate::Error;

/// Runs a program to completion and returns its standard output.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name}: {}: {}", output.status, errors.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
