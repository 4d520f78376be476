//! What commands print.

use std::{
    io::{self, BufWriter, Write as _},
    process::ExitCode,
};

use serde::Serialize;

use crate::text::one_line;

/// What is written at a time of what is long.
const BUFFER: usize = 64 << 10;

/// Writes to standard output; a reader that has closed it is not an error.
pub fn print(text: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    outcome(stdout.write_all(text).and_then(|()| stdout.flush()))
}

/// Writes a document of JSON, likewise. It is never in memory as a whole.
pub fn print_json(document: &impl Serialize) -> ExitCode {
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut stdout, document).map_err(io::Error::from);
    outcome(written.and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()))
}

fn outcome(written: io::Result<()>) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error),
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an error in one line; a quoted name of a file may have several.
pub fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("portolan: {}", one_line(error.to_string()));
    ExitCode::FAILURE
}
