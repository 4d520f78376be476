//! Log lines as every Kubernetes component writes them: klog's text, or JSON.

mod fields;
mod json;
mod klog;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

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
    // A second call, as in tests, changes nothing.
    let _ = if settings.is_json {
        builder.event_format(json::Json).try_init()
    } else {
        builder.event_format(klog::Klog).try_init()
    };
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
