//! What commands print.

use std::{
    error::Error,
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{Formatter, PrettyFormatter},
};

use crate::text::one_line;

/// What is written at a time of what is long.
const BUFFER: usize = 64 << 10;

/// How a command ends: with an exit status, or with a failure, whose status the help of the command says.
pub type Ended = Result<ExitCode, Failure>;

/// What ends a command before its time.
#[derive(Debug)]
pub enum Failure {
    /// An error that is to be reported.
    Error(Box<dyn Error + Send + Sync>),
    /// There is no such Service, which is no error: the exit status is 1.
    Missing(String),
    /// What was reported already.
    Reported,
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Failure {
    /// Prints an error in one line, unless that was done; a quoted name of a file may have several.
    pub fn report(&self) {
        match self {
            Self::Error(error) => eprintln!("portolan: {}", one_line(error.to_string())),
            Self::Missing(message) => eprintln!("portolan: {message}"),
            Self::Reported => {}
        }
    }
}

/// Writes to standard output; a reader that has closed it is not an error.
pub fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    unless_closed(stdout.write_all(text).and_then(|()| stdout.flush()))
}

/// So many items are worth a second thread.
const MANY: usize = 1_000;

/// Writes a list as a document of JSON, likewise: an object whose last field is the empty array of the items. It is never in
/// memory as a whole. Of many items, a second thread has the second half ready by the time the first is written.
pub fn print_json_list(without_items: &impl Serialize, items: &[impl Serialize + Sync]) -> io::Result<()> {
    const NO_ITEMS: &str = "[]\n}";
    let document = serde_json::to_string_pretty(without_items)?;
    let Some(start) = document.strip_suffix(NO_ITEMS).filter(|_| !items.is_empty()) else {
        return print((document + "\n").as_bytes());
    };
    let (first, rest) = items.split_at(if items.len() < MANY { items.len() } else { items.len() / 2 });
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    unless_closed(std::thread::scope(|scope| {
        let rest = scope.spawn(|| {
            let mut text = Vec::new();
            write_items(&mut text, rest, false).map(|()| text)
        });
        stdout.write_all(start.as_bytes())?;
        stdout.write_all(b"[")?;
        write_items(&mut stdout, first, true)?;
        let rest = rest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        stdout.write_all(&rest)?;
        stdout.write_all(b"\n  ]\n}\n")?;
        stdout.flush()
    }))
}

/// Writes items of an array that is in a field of a document, the first of them at the beginning of the array or not.
fn write_items(out: &mut impl Write, items: &[impl Serialize], mut is_first: bool) -> io::Result<()> {
    let mut formatter = PrettyFormatter::new();
    // It counts how deep it is.
    formatter.begin_object(&mut io::sink())?;
    formatter.begin_array(&mut io::sink())?;
    for item in items {
        formatter.begin_array_value(out, is_first)?;
        item.serialize(&mut Serializer::with_formatter(&mut *out, formatter.clone()))?;
        formatter.end_array_value(out)?;
        is_first = false;
    }
    Ok(())
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_of_a_list_are_written_as_those_of_a_document_whatever_thread_writes_them() {
        let items = [json!({"a": [1, {"b": []}], "c": {}}), json!("text"), json!([])];
        let whole = serde_json::to_string_pretty(&json!({"items": items})).unwrap();
        for first in 1..=items.len() {
            let mut text = b"{\n  \"items\": [".to_vec();
            write_items(&mut text, &items[..first], true).unwrap();
            write_items(&mut text, &items[first..], false).unwrap();
            text.extend(b"\n  ]\n}");
            assert_eq!(String::from_utf8(text).unwrap(), whole);
        }
    }
}
