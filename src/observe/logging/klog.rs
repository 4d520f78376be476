//! klog's text: `I0708 12:00:00.000000       1 agent.rs:42] "Message" key="value"`.

use std::fmt;

use tracing::{Event, Level, field::Field};
use tracing_subscriber::fmt::format::Writer;

use super::fields::key;

/// Writes an event.
pub fn write(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let metadata = event.metadata();
    let severity = match *metadata.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let now = jiff::Timestamp::now().strftime("%m%d %H:%M:%S.%6f");
    let (file, line) = (super::file(metadata), metadata.line().unwrap_or(1));
    write!(writer, "{severity}{now} {:7} {file}:{line}] ", std::process::id())?;
    let mut fields = Fields::default();
    event.record(&mut fields);
    write!(writer, "{:?}", fields.message)?;
    if let Some(logger) = super::logger(metadata) {
        write!(writer, " logger={logger:?}")?;
    }
    writeln!(writer, "{}", fields.rest)
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        use fmt::Write;
        if field.name() == "message" {
            self.message = value;
        } else {
            let _ = write!(self.rest, " {}={value}", key(field.name()));
        }
    }
}

impl tracing::field::Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.to_string());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    /// As klog quotes whatever is neither a number nor a truth value: strings, errors, and what has a `String()`.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.put(field, if field.name() == "message" { text } else { format!("{text:?}") });
    }
}
