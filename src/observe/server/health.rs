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

/// Connections at a time.
pub const CONNECTIONS: usize = 256;

type Answer = (StatusCode, [(HeaderName, &'static str); 1], Json<Value>);

/// The routes. As for kube-proxy, any method will do.
pub fn router(shared: &Shared) -> Router {
    Router::new()
        .route("/healthz", any(healthz))
        .route("/livez", any(livez))
        .route("/readyz", any(readyz))
        .with_state(shared.clone())
}

async fn healthz(State(shared): State<Shared>) -> Answer {
    let report = shared.health.report();
    answer(&shared, Probe::Healthz, report.admits_traffic(), report.healthz())
}

async fn livez(State(shared): State<Shared>) -> Answer {
    let report = shared.health.report();
    answer(&shared, Probe::Livez, report.healthy, report.livez())
}

async fn readyz(State(shared): State<Shared>) -> Answer {
    let report = shared.health.report();
    answer(&shared, Probe::Readyz, report.is_ready(), report.readyz())
}

fn answer(shared: &Shared, probe: Probe, well: bool, body: Value) -> Answer {
    let code = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    shared.metrics.probed(probe, code.as_u16());
    (code, [(X_CONTENT_TYPE_OPTIONS, "nosniff")], Json(body))
}
