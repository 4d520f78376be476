//! Log lines as every Kubernetes component writes them: klog's text, or JSON.

mod line;

use std::fmt;

use tracing::Event;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::format::Writer,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::config::settings::LoggingSettings;
use line::{Context, OWN};

/// From this verbosity on, other crates are logged at the agent's level.
const OTHERS: u32 = 8;

/// The target under which kube warns, for every connection, that it does not check certificates or cannot read a file
/// of certificate authorities. The cluster source logs each of these once.
const KUBE_TLS: &str = "kube_client::client::tls";

/// Starts logging to standard error. Verbosity is klog's: 4 and above is for debugging, 8 and above includes other
/// crates.
pub fn start(settings: LoggingSettings) {
    let format: Format = if settings.is_json { line::json } else { line::klog };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        // A line that cannot be written is lost: reporting that on the same stream would end the thread.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .event_format(format)
        .finish();
    // A second call, as in tests, changes nothing.
    let _ = subscriber.with(targets(settings.verbosity)).try_init();
}

/// The filter for a verbosity.
fn targets(verbosity: u32) -> Targets {
    let level = match verbosity {
        0..=3 => LevelFilter::INFO,
        4..=5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    if verbosity >= OTHERS {
        return Targets::new().with_default(level);
    }
    Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(KUBE_TLS, LevelFilter::OFF)
        .with_target(OWN, level)
}

/// Writes an event as a line.
type Format = fn(&Context<'_>, Writer<'_>, &Event<'_>) -> fmt::Result;

#[cfg(test)]
mod tests {
    use std::{io::Read as _, io::Seek as _, sync::Arc};

    use tracing::{Level, error, info};

    use super::*;

    /// The lines that a format writes.
    fn lines(format: Format, log: impl FnOnce()) -> Vec<String> {
        let mut file = tempfile::tempfile().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(Arc::new(file.try_clone().unwrap()))
            .event_format(format)
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
        let lines = lines(line::klog, log);
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
    fn other_crates_are_quiet_below_8() {
        let is_logged = |verbosity, target, level| targets(verbosity).would_enable(target, &level);
        for (verbosity, most) in [(0, Level::INFO), (2, Level::INFO), (4, Level::DEBUG), (6, Level::TRACE)] {
            for target in ["portolan::agent::sync", "portolan_rules::compile"] {
                assert!(is_logged(verbosity, target, most), "-v {verbosity}");
            }
            let (pool, tls) = ("hyper_util::client::legacy::pool", "kube_client::client::tls::rustls_tls");
            assert!(is_logged(verbosity, pool, Level::WARN));
            assert!(!is_logged(verbosity, pool, Level::INFO), "-v {verbosity}");
            assert!(!is_logged(verbosity, tls, Level::ERROR), "-v {verbosity}");
        }
        assert!(!is_logged(3, "portolan::agent", Level::DEBUG));
        for target in ["portolan::agent", "hyper_util::client", "kube_client::client::tls"] {
            assert!(is_logged(8, target, Level::TRACE));
        }
    }

    #[test]
    fn a_line_of_another_crate_names_it() {
        let log = || tracing::warn!(target: "hyper_util::client", count = 2, "Something is");
        let klog = lines(line::klog, log).remove(0);
        assert!(klog.ends_with(r#"] "Something is" logger="hyper_util::client" count=2"#), "{klog}");
        let json: serde_json::Value = serde_json::from_str(&lines(line::json, log)[0]).unwrap();
        assert_eq!(json["logger"], "hyper_util::client");
    }

    #[test]
    fn json_has_the_keys_of_kubernetes_components() {
        let lines = lines(line::json, log);
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
