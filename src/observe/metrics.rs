//! Metrics in the Prometheus text format: kube-proxy's, which dashboards use, and Portolan's own.

mod api;
mod connections;
mod kube_proxy;
mod now;
mod portolan;
mod register;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use portolan_rules::{compile::Problem, model::ObjectName};
use prometheus::{Encoder, IntGaugeVec, Registry, TextEncoder, process_collector::ProcessCollector};

pub use self::{api::ApiRequests, connections::Connections, register::Declared};
use super::{
    health::Health,
    report::{Observer, Reconcile, Report},
};
use kube_proxy::{KubeProxy, MISNAMED};
use now::Now;
use portolan::Portolan;
use register::{Register, registered};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// How many of the last problems `/statusz` shows.
const PROBLEMS: usize = 20;

/// All metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Inner>);

/// A path that reports the health of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz`.
    Healthz,
    /// `/livez`.
    Livez,
    /// `/readyz`.
    Readyz,
}

#[derive(Debug)]
struct Inner {
    /// When the process started.
    started: Timestamp,
    register: Register,
    kube_proxy: KubeProxy,
    portolan: Portolan,
    now: Now,
    api: ApiRequests,
    notes: Mutex<Notes>,
}

/// The parts of `/statusz` that are not numbers.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The last reconcile that succeeded, and when it ended.
    pub last_success: Option<(Timestamp, Reconcile)>,
    /// When the last failed reconcile ended.
    pub last_failure: Option<Timestamp>,
    /// Number of Services programmed.
    pub services: usize,
    /// Services that the kernel refuses.
    pub quarantined: Vec<ObjectName>,
    /// The last problems with Services, oldest first.
    pub problems: Vec<(Timestamp, Problem)>,
}

impl Default for Inner {
    fn default() -> Self {
        let register = Register::default();
        register.registry.register(Box::new(ProcessCollector::for_self())).expect("names are unique");
        let (kube_proxy, portolan) = (KubeProxy::new(&register), Portolan::new(&register));
        kube_proxy.begin();
        portolan.begin();
        Self {
            started: Timestamp::now(),
            kube_proxy,
            portolan,
            now: Now::new(&register),
            api: ApiRequests::new(&register),
            register,
            notes: Mutex::default(),
        }
    }
}

impl Observer for Metrics {
    fn report(&self, report: Report<'_>) {
        let Inner { kube_proxy, portolan, .. } = &*self.0;
        match report {
            Report::Reconciled(reconcile) => {
                let now = Timestamp::now();
                kube_proxy.reconciled(reconcile, self.0.started, now);
                portolan.reconciled(reconcile);
                let mut notes = self.notes_mut();
                if reconcile.succeeded {
                    notes.last_success = Some((now, reconcile.clone()));
                } else {
                    notes.last_failure = Some(now);
                }
            }
            Report::Programmed(state, compiler) => {
                kube_proxy.no_local_endpoints(compiler.no_local_endpoints());
                portolan.programmed(compiler.service_count(), compiler.without_endpoints());
                let mut notes = self.notes_mut();
                notes.services = compiler.service_count();
                if !(notes.quarantined.is_empty() && state.quarantined().is_empty()) {
                    notes.quarantined = state.quarantined().iter().cloned().collect();
                }
            }
            Report::FlowsRemoved { removal, pending } => {
                kube_proxy.flows_removed(&removal);
                portolan.flows_removed(&removal, pending);
            }
            Report::Problem(problem) => {
                portolan.problem(problem.severity);
                let problems = &mut self.notes_mut().problems;
                if problems.len() >= PROBLEMS {
                    problems.remove(0);
                }
                problems.push((Timestamp::now(), problem.clone()));
            }
        }
    }
}

impl Metrics {
    /// Adds the metrics of connections (`--endpoint-counters`).
    ///
    /// # Panics
    /// When called twice: names are unique.
    pub fn connections(&self) -> Connections {
        Connections::new(&self.0.register)
    }

    /// Every metric that can exist, including those of connections but not those of the process, which Prometheus' own
    /// clients have as well.
    pub fn declared() -> Vec<Declared> {
        let metrics = Self::default();
        let _connections = metrics.connections();
        metrics.0.register.declared()
    }

    /// Where requests to the API server are counted.
    pub fn api_requests(&self) -> ApiRequests {
        self.0.api.clone()
    }

    /// Counts a response of the health server.
    pub fn probed(&self, probe: Probe, code: u16) {
        let answers = match probe {
            Probe::Healthz => &self.0.kube_proxy.healthz,
            Probe::Livez => &self.0.kube_proxy.livez,
            Probe::Readyz => &self.0.now.readyz,
        };
        answers.with_label_values(&[code.to_string()]).inc();
    }

    /// The response to `GET /metrics`.
    pub fn text(&self, health: &Health) -> String {
        self.0.now.set(&health.report());
        // kube-proxy has a gauge whose name ends like a counter's, and dashboards use that name. Its type is reported
        // as untyped, so that format checkers accept it.
        let declared = |r#type| format!("# TYPE {MISNAMED} {type}\n");
        encode(&self.0.register.registry).replacen(&declared("gauge"), &declared("untyped"), 1)
    }

    /// The parts of `/statusz` that are not numbers.
    pub fn notes(&self) -> Notes {
        self.notes_mut().clone()
    }

    fn notes_mut(&self) -> MutexGuard<'_, Notes> {
        // A thread that panicked left valid values behind.
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The response to `GET /metrics/slis`: the outcome of each health check, as Kubernetes components report it.
pub fn slis(health: &Health) -> String {
    let report = health.report();
    let register = Register::default();
    let (name, help) = ("kubernetes_healthcheck", "The result of a single health check.");
    let checks: IntGaugeVec = registered(&register, name, help, &["name", "type"], Vec::new());
    let outcomes =
        [("healthz", report.admits_traffic()), ("livez", report.healthy), ("readyz", report.is_ready())];
    for (r#type, well) in outcomes {
        checks.with_label_values(&["proxy", r#type]).set(well.into());
    }
    encode(&register.registry)
}

fn encode(registry: &Registry) -> String {
    let mut text = Vec::new();
    // Writing to a vector does not fail, and the registry has checked all metric families.
    let _ = TextEncoder::new().encode(&registry.gather(), &mut text);
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str) -> i64 {
        let text = Metrics::default().text(&Health::default());
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }

    #[test]
    fn the_start_is_that_of_the_process_not_of_the_metrics() {
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let now = || Timestamp::now().as_second();
        let before = now();
        let started = value("process_start_time_seconds");
        // `ps` computes it in the same way but rounds differently.
        let output = std::process::Command::new("ps")
            .args(["-o", "etimes=", "-p", &std::process::id().to_string()])
            .output()
            .unwrap();
        let elapsed: i64 = String::from_utf8_lossy(&output.stdout).trim().parse().unwrap();
        // `ps` ran at some moment between these two. It omits up to one second, and the metric up to two: one of the
        // time at which the machine was started, and one of the time since.
        let possible = before - elapsed - 3..=now() - elapsed + 1;
        assert!(elapsed >= 1 && possible.contains(&started), "{possible:?} {elapsed} {started}");
    }

    #[test]
    fn this_process_has_memory_and_open_files() {
        assert!(value("process_resident_memory_bytes") > 1 << 20);
        let open = value("process_open_fds");
        assert!(open >= 3, "standard streams are open");
        assert!(value("process_max_fds") >= open);
    }
}
