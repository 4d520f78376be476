//! A JSON object on each line, with the keys of `k8s.io/component-base`:
//! `{"ts":1580306777048.1,"caller":"agent.rs:42","msg":"Message","v":0,"key":"value"}`. Errors have no `v`.

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Level, field::Field};
use tracing_subscriber::fmt::format::Writer;

use super::fields::key;

/// Writes an event.
pub fn write(writer: &mut Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let now = jiff::Timestamp::now().as_microsecond();
    let caller = format!("{}:{}", super::file(metadata), metadata.line().unwrap_or(1));
    // Written by hand so far because the order is that of Kubernetes components.
    write!(writer, "{{\"ts\":{}.{:03}", now / 1000, now % 1000)?;
    write!(writer, ",\"caller\":{},\"msg\":{}", Value::from(caller), Value::from(fields.message))?;
    if *metadata.level() != Level::ERROR {
        write!(writer, ",\"v\":{}", super::verbosity(*metadata.level()))?;
    }
    if let Some(logger) = super::logger(metadata) {
        write!(writer, ",\"logger\":{}", Value::from(logger))?;
    }
    for (key, value) in fields.rest {
        write!(writer, ",{}:{value}", Value::from(key))?;
    }
    writeln!(writer, "}}")
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.rest.insert(key(field.name()).into_owned(), value.into());
    }
}

impl tracing::field::Visit for Fields {
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
