//! Registering metrics.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    core::Collector,
};

/// The values of the label `ip_family`, in the order of [`portolan_rules::ruleset::Family::ALL`].
pub const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// A metric as it is declared: what there is before anything is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declared {
    /// Its name, as `portolan_services`.
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

/// A metric with a type.
pub trait Typed {
    /// The type, as the text format has it.
    const KIND: &'static str;
}

macro_rules! typed {
    ($($metric:ty: $kind:literal,)*) => {
        $(impl Typed for $metric {
            const KIND: &'static str = $kind;
        })*
    };
}

typed! {
    IntCounter: "counter",
    IntCounterVec: "counter",
    IntGauge: "gauge",
    IntGaugeVec: "gauge",
    GaugeVec: "gauge",
    Histogram: "histogram",
    HistogramVec: "histogram",
}

/// Registers a metric.
///
/// # Panics
/// If its name or labels are invalid or not unique. They are constants, and tests register all of them.
pub fn registered<M>(register: &Register, metric: prometheus::Result<M>) -> M
where
    M: Collector + Typed + Clone + 'static,
{
    let metric = metric.expect("names and labels are valid");
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
