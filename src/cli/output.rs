//! What commands print.

use std::{
    error::Error,
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::mpsc,
    thread,
};

use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{Formatter, PrettyFormatter},
};

use crate::text::one_line;

/// The size of the buffer for long output, in bytes.
const BUFFER: usize = 64 << 10;

/// How a command ends: with an exit status, or with a failure, whose status the help of the command states.
pub type Ended = Result<ExitCode, CommandError>;

/// Why a command ends early.
#[derive(Debug)]
pub enum CommandError {
    /// An error that is to be reported.
    Error(Box<dyn Error + Send + Sync>),
    /// There is no such Service, which is not an error: the exit status is 1.
    Missing(String),
    /// An error that was already reported.
    Reported,
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for CommandError {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl CommandError {
    /// Prints an error in one line, unless it was already reported. The error may quote a file name with line breaks.
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

/// Writes the result of a command, and returns this exit status.
pub fn end(text: impl AsRef<[u8]>, status: impl Into<u8>) -> Ended {
    print(text.as_ref())?;
    Ok(ExitCode::from(status.into()))
}

/// How many items of a list are written at a time, and how many such batches may be ready before they are written.
const BATCH: usize = 32;
const READY: usize = 64;

/// The initial capacity for the text of a batch, in bytes.
const ROOM: usize = 96 << 10;

/// Writes a list as a JSON document to standard output; a reader that has closed it is not an error. The document is an
/// object whose last field is the array of the items, which is empty in `without_items`. It is never in memory as a
/// whole: each item is made when it is written, and every other batch on a second thread.
pub fn print_json_list<T: Sync, I: Serialize>(
    without_items: &impl Serialize,
    of: &[T],
    item: impl Fn(&T) -> I + Sync,
) -> io::Result<()> {
    const NO_ITEMS: &str = "[]\n}";
    let document = serde_json::to_string_pretty(without_items)?;
    let Some(start) = document.strip_suffix(NO_ITEMS).filter(|_| !of.is_empty()) else {
        return print((document + "\n").as_bytes());
    };
    let mut stdout = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    unless_closed((|| {
        write!(stdout, "{start}[")?;
        write_items(&mut stdout, of, item)?;
        stdout.write_all(b"\n  ]\n}\n")?;
        stdout.flush()
    })())
}

/// Writes the items of an array that is in a field of a document.
fn write_items<T: Sync, I: Serialize>(
    out: &mut impl Write,
    of: &[T],
    item: impl Fn(&T) -> I + Sync,
) -> io::Result<()> {
    let mut formatter = PrettyFormatter::new();
    // The formatter counts the levels.
    formatter.begin_object(&mut io::sink())?;
    formatter.begin_array(&mut io::sink())?;
    let text = |batch: &[T], mut is_first: bool| -> io::Result<Vec<u8>> {
        let (mut text, mut formatter) = (Vec::with_capacity(ROOM), formatter.clone());
        for item in batch.iter().map(&item) {
            formatter.begin_array_value(&mut text, is_first)?;
            item.serialize(&mut Serializer::with_formatter(Text(&mut text), formatter.clone()))?;
            formatter.end_array_value(&mut text)?;
            is_first = false;
        }
        Ok(text)
    };
    let every_other = |first| of.chunks(BATCH).skip(first).step_by(2);
    let (ready, others) = mpsc::sync_channel(READY);
    thread::scope(|scope| {
        let text = &text;
        scope.spawn(move || every_other(1).try_for_each(|batch| ready.send(text(batch, false)).ok()));
        // The receiver is dropped with this closure, so that a thread that waits for room ends.
        let others = others;
        for (index, batch) in every_other(0).enumerate() {
            out.write_all(&text(batch, index == 0)?)?;
            if let Ok(other) = others.recv() {
                out.write_all(&other?)?;
            }
        }
        Ok(())
    })
}

/// Text in memory. Most of a document is spaces, which are written in pairs: a length that is known beforehand is
/// quicker to copy.
struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match <[u8; 2]>::try_from(bytes) {
            Ok(pair) => self.0.extend_from_slice(&pair),
            Err(_) => self.0.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
        let item = |number: &usize| match number % 3 {
            0 => json!({"a": [number, {"b": []}], "c": {}}),
            1 => json!(number.to_string()),
            _ => json!([]),
        };
        for count in [1, 2, BATCH, BATCH + 1, 2 * BATCH + 1, 5 * BATCH] {
            let numbers: Vec<usize> = (0..count).collect();
            let items: Vec<_> = numbers.iter().map(item).collect();
            let whole = serde_json::to_string_pretty(&json!({"items": items})).unwrap();
            let mut text = b"{\n  \"items\": [".to_vec();
            write_items(&mut text, &numbers, item).unwrap();
            text.extend(b"\n  ]\n}");
            assert_eq!(String::from_utf8(text).unwrap(), whole);
        }
    }

    #[test]
    fn writing_ends_where_nothing_more_can_be_written() {
        let numbers: Vec<usize> = (0..2 * READY * BATCH * 2).collect();
        let error = write_items(&mut &mut [0; 100][..], &numbers, |number| json!(number)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
