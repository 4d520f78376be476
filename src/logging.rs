//! Log lines as every Kubernetes component writes them: klog's text, or JSON.

mod fields;
mod json;
mod klog;

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::settings::LoggingSettings;

/// Starts logging to standard error. Verbosity as klog counts it: 4 and more is for debugging.
pub fn start(settings: LoggingSettings) {
    let builder = tracing_subscriber::fmt()
        .with_max_level(match settings.verbosity {
            0..=3 => LevelFilter::INFO,
            4..=5 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
        // A line that cannot be written is lost; saying so there as well would end the thread.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let format = Format(if settings.is_json { json::write } else { klog::write });
    // A second call, as in tests, changes nothing.
    let _ = builder.event_format(format).try_init();
}

/// What writes an event as a line.
struct Format(fn(&mut Writer<'_>, &Event<'_>) -> fmt::Result);

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        (self.0)(&mut writer, event)
    }
}

/// The verbosity from which on klog would write such a line.
fn verbosity(level: Level) -> u32 {
    match level {
        Level::ERROR | Level::WARN | Level::INFO => 0,
        Level::DEBUG => 4,
        Level::TRACE => 6,
    }
}

/// The file's name without directories.
fn file<'a>(metadata: &tracing::Metadata<'a>) -> &'a str {
    metadata.file().and_then(|file| file.rsplit('/').next()).unwrap_or("unknown")
}
