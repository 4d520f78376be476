//! `/healthz`, `/livez` and `/readyz`.

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header::X_CONTENT_TYPE_OPTIONS},
    routing::any,
};
use serde_json::Value;

use super::shared::Shared;
use crate::observe::metrics::Probe;

/// Most connections at a time.
pub const CONNECTIONS: usize = 256;

type Answer = (StatusCode, [(HeaderName, &'static str); 1], Json<Value>);

/// The routes. Like kube-proxy, accepts any method.
pub fn router(shared: &Shared) -> Router {
    let probes = [("/healthz", Probe::Healthz), ("/livez", Probe::Livez), ("/readyz", Probe::Readyz)];
    let add = |router: Router<Shared>, (path, probe)| {
        router.route(path, any(move |State(shared): State<Shared>| async move { answer(&shared, probe) }))
    };
    probes.into_iter().fold(Router::new(), add).with_state(shared.clone())
}

fn answer(shared: &Shared, probe: Probe) -> Answer {
    let report = shared.health.report();
    let (is_well, body) = match probe {
        Probe::Healthz => (report.admits_traffic(), report.healthz()),
        Probe::Livez => (report.healthy, report.livez()),
        Probe::Readyz => (report.is_ready(), report.readyz()),
    };
    let code = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    shared.metrics.probed(probe, code.as_u16());
    (code, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], Json(body))
}
