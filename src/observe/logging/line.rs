//! The two formats of a line.

use std::{borrow::Cow, fmt};

use serde_json::Value;
use tracing::{Event, Level, Metadata, field::Field};
use tracing_subscriber::{
    fmt::{
        FmtContext,
        format::{DefaultFields, Writer},
    },
    registry::Registry,
};

/// The prefix of the targets of our own crates.
pub const OWN: &str = "portolan";

/// The context of an event.
pub type Context<'a> = FmtContext<'a, Registry, DefaultFields>;

/// Writes klog's text: `I0708 12:00:00.000000       1 agent.rs:42] "Message" key="value"`. Like klog, quotes everything
/// except numbers and booleans.
pub fn klog(_: &Context<'_>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let metadata = event.metadata();
    let severity = match *metadata.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let now = jiff::Timestamp::now().strftime("%m%d %H:%M:%S.%6f");
    let Line { caller, message, fields } = Line::new(event);
    write!(writer, "{severity}{now} {:7} {caller}] {message:?}", std::process::id())?;
    for (key, value) in fields {
        match value {
            Value::String(text) => write!(writer, " {key}={text:?}")?,
            value => write!(writer, " {key}={value}")?,
        }
    }
    writeln!(writer)
}

/// Writes a JSON object with the keys of `k8s.io/component-base`, in its order:
/// `{"ts":1580306777048.1,"caller":"agent.rs:42","msg":"Message","v":0,"key":"value"}`. Errors have no `v`.
pub fn json(_: &Context<'_>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let now = jiff::Timestamp::now().as_microsecond();
    let Line { caller, message, fields } = Line::new(event);
    write!(writer, "{{\"ts\":{}.{:03}", now / 1000, now % 1000)?;
    write!(writer, ",\"caller\":{},\"msg\":{}", Value::from(caller), Value::from(message))?;
    let verbosity = match *event.metadata().level() {
        Level::ERROR => None,
        Level::WARN | Level::INFO => Some(0),
        Level::DEBUG => Some(4),
        Level::TRACE => Some(6),
    };
    if let Some(verbosity) = verbosity {
        write!(writer, ",\"v\":{verbosity}")?;
    }
    for (key, value) in fields {
        write!(writer, ",{}:{value}", Value::from(key))?;
    }
    writeln!(writer, "}}")
}

/// The parts of a line that both formats have.
struct Line {
    /// The file and line that logged the event.
    caller: String,
    message: String,
    fields: Vec<(Cow<'static, str>, Value)>,
}

impl Line {
    fn new(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let caller = format!("{}:{}", file(metadata), metadata.line().unwrap_or(1));
        let mut line = Self { caller, message: String::new(), fields: Vec::new() };
        if !metadata.target().starts_with(OWN) {
            line.fields.push(("logger".into(), metadata.target().into()));
        }
        event.record(&mut line);
        line
    }

    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.push((key(field.name()), value.into()));
    }
}

impl tracing::field::Visit for Line {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.put(field, text);
        }
    }
}

/// The name of the file without directories.
fn file<'a>(metadata: &Metadata<'a>) -> &'a str {
    metadata.file().and_then(|file| file.rsplit('/').next()).unwrap_or("unknown")
}

/// The name of a field as Kubernetes components write it: lower camel case, and `err` for the error.
fn key(name: &'static str) -> Cow<'static, str> {
    match name {
        "error" => "err".into(),
        name if !name.contains('_') => name.into(),
        name => {
            let mut words = name.split('_');
            let mut key = words.next().unwrap_or_default().to_owned();
            for word in words {
                let mut letters = word.chars();
                key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
                key.push_str(letters.as_str());
            }
            key.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_camel_case() {
        assert_eq!(key("endpoint_slices"), "endpointSlices");
        assert_eq!(key("operations"), "operations");
        assert_eq!(key("error"), "err");
    }
}
