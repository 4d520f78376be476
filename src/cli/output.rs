//! What commands print.

use std::{io::Write as _, process::ExitCode};

use crate::text::one_line;

/// Writes to standard output; a reader that has closed it is not an error.
pub fn print(text: &[u8]) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an error in one line; a quoted name of a file may have several.
pub fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("portolan: {}", one_line(error.to_string()));
    ExitCode::FAILURE
}
