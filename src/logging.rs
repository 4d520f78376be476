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

#[cfg(test)]
mod tests {
    use std::{io::Read as _, io::Seek as _, sync::Arc};

    use tracing::{error, info};

    use super::*;

    /// What a format makes of what is logged.
    fn lines(format: fn(&mut Writer<'_>, &Event<'_>) -> fmt::Result, log: impl FnOnce()) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(file.try_clone().unwrap()))
            .event_format(Format(format))
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn log() {
        let address = std::net::Ipv4Addr::LOCALHOST;
        info!(%address, endpoint_slices = 3_usize, delta = -2, full = true, ratio = 0.5, "Something is");
        error!(error = %"no\nsuch \"file\"", path = "a b", kind = ?Level::INFO, "It's\nbroken");
    }

    #[test]
    fn klog_quotes_all_but_numbers_and_truth_values() {
        let lines = lines(klog::write, log);
        let [info, error] = lines.as_slice() else { panic!("one line an event: {lines:?}") };
        let (head, body) = info.split_at(info.find(']').unwrap());
        assert_eq!(
            body,
            r#"] "Something is" address="127.0.0.1" endpointSlices=3 delta=-2 full=true ratio=0.5"#
        );
        // I1123 22:29:06.779319   18534 run.rs:82
        let shape: String = head.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let place = shape.get(29..).unwrap();
        assert!(shape.starts_with("I0000 00:00:00.000000 ") && place.starts_with(" logging.rs:0"), "{info}");
        assert_eq!(head.get(22..29).unwrap().trim_start(), std::process::id().to_string());
        let body = error.split_once("] ").unwrap().1;
        assert_eq!(body, r#""It's\nbroken" err="no\nsuch \"file\"" path="a b" kind="Level(Info)""#);
        assert!(error.starts_with('E'));
    }

    #[test]
    fn json_has_the_keys_of_kubernetes_components() {
        let lines = lines(json::write, log);
        let [info, error] = lines.as_slice() else { panic!("one line an event: {lines:?}") };
        let mut values = [info, error].map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        for value in &mut values {
            assert!(value["ts"].take().as_f64().unwrap() > 1_700_000_000_000.0, "milliseconds: {value}");
            assert!(value["caller"].take().as_str().unwrap().starts_with("logging.rs:"), "{value}");
        }
        let [info, error] = values;
        assert_eq!(
            info,
            serde_json::json!({
                "ts": null, "caller": null, "msg": "Something is", "v": 0,
                "address": "127.0.0.1", "endpointSlices": 3, "delta": -2, "full": true, "ratio": 0.5,
            })
        );
        assert_eq!(
            error,
            serde_json::json!({
                "ts": null, "caller": null, "msg": "It's\nbroken",
                "err": "no\nsuch \"file\"", "path": "a b", "kind": "Level(Info)",
            })
        );
    }
}
