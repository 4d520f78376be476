//! Registration of metrics.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, core::Collector,
};

/// The values of the label `ip_family`, in the order of [`portolan_rules::ruleset::Family::ALL`].
pub const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// Converts a number to the type of gauges.
pub fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// A metric as it is declared, before anything is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// Its name, such as `portolan_services`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: Vec<String>,
    /// What it counts.
    pub help: String,
}

/// A registry that remembers what was registered.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// The registry.
    pub registry: Registry,
    declared: Arc<Mutex<Vec<Declared>>>,
}

impl Register {
    /// All metrics, in the order of their registration.
    pub fn declared(&self) -> Vec<Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A kind of metric.
pub trait Metric: Collector + Clone + 'static {
    /// The type, as in the text format.
    const KIND: &'static str;

    /// Creates a metric with these labels, if the kind has any, and these buckets, if it is a histogram.
    fn create(options: Opts, labels: &[&str], buckets: Vec<f64>) -> prometheus::Result<Self>;
}

macro_rules! kinds {
    ($($metric:ty, $kind:literal, $create:expr;)*) => {
        $(impl Metric for $metric {
            const KIND: &'static str = $kind;

            fn create(options: Opts, labels: &[&str], buckets: Vec<f64>) -> prometheus::Result<Self> {
                $create(options, labels, buckets)
            }
        })*
    };
}

kinds! {
    IntCounter, "counter", |options, _, _| Self::with_opts(options);
    IntCounterVec, "counter", |options, labels, _| Self::new(options, labels);
    IntGauge, "gauge", |options, _, _| Self::with_opts(options);
    IntGaugeVec, "gauge", |options, labels, _| Self::new(options, labels);
    GaugeVec, "gauge", |options, labels, _| Self::new(options, labels);
    Histogram, "histogram", |common_opts, _, buckets| Self::with_opts(HistogramOpts { common_opts, buckets });
    HistogramVec, "histogram", |common_opts, labels, buckets| {
        Self::new(HistogramOpts { common_opts, buckets }, labels)
    };
}

/// Registers a metric.
///
/// # Panics
/// If its name or labels are invalid or not unique. They are constants, and tests register all of them.
pub fn registered<M: Metric>(
    register: &Register,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: Vec<f64>,
) -> M {
    let metric = M::create(Opts::new(name, help), labels, buckets).expect("names and labels are valid");
    register.registry.register(Box::new(metric.clone())).expect("names are unique");
    let mut declared = register.declared.lock().unwrap_or_else(PoisonError::into_inner);
    declared.extend(metric.desc().into_iter().map(|about| Declared {
        name: about.fq_name.clone(),
        kind: M::KIND,
        labels: about.variable_labels.clone(),
        help: about.help.clone(),
    }));
    metric
}

/// Declares a structure of metrics whose names share a prefix, and its constructor, which registers them. A row holds
/// the field, the kind with its labels, the buckets of a histogram, the name, and the help text.
macro_rules! metrics {
    ($(#[$about:meta])* $structure:ident: $prefix:literal {
        $($field:ident: $kind:ident($($label:literal),*) $(in $buckets:path)? = $name:literal, $help:literal;)*
    }) => {
        $(#[$about])*
        pub struct $structure {
            $(pub(super) $field: prometheus::$kind,)*
        }

        impl $structure {
            /// Registers the metrics.
            pub fn new(register: &$crate::observe::metrics::register::Register) -> Self {
                Self {
                    $($field: $crate::observe::metrics::register::registered(
                        register,
                        concat!($prefix, $name),
                        $help,
                        &[$($label),*],
                        None::<Vec<f64>>$(.or_else(|| Some($buckets())))?.unwrap_or_default(),
                    ),)*
                }
            }
        }
    };
}
pub(super) use metrics;
