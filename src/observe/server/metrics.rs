//! `/metrics`, and the pages for people: `/statusz`, `/configz`, `/proxyMode`.

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderName,
        header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    routing::any,
};
use serde_json::{Value, json};

use super::{shared::Shared, status};
use crate::observe::metrics::{CONTENT_TYPE as METRICS, slis};

/// Connections at a time.
pub const CONNECTIONS: usize = 64;

/// The mode that `/proxyMode` names, as kube-proxy does: other components read it.
const MODE: &str = "nftables";

type Text<T> = ([(HeaderName, &'static str); 2], T);

/// The routes.
pub fn router(shared: &Shared) -> Router {
    Router::new()
        .route("/metrics", any(metrics))
        .route("/metrics/slis", any(service_levels))
        .route("/healthz", any(healthz))
        .route("/proxyMode", any(proxy_mode))
        .route("/configz", any(configz))
        .route("/statusz", any(statusz))
        .with_state(shared.clone())
}

fn plain<T>(text: T) -> Text<T> {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
}

async fn metrics(State(shared): State<Shared>) -> Text<String> {
    ([(CONTENT_TYPE, METRICS), (X_CONTENT_TYPE_OPTIONS, "nosniff")], shared.metrics.text(&shared.health))
}

async fn service_levels(State(shared): State<Shared>) -> Text<String> {
    ([(CONTENT_TYPE, METRICS), (X_CONTENT_TYPE_OPTIONS, "nosniff")], slis(&shared.health))
}

/// Whether this server answers; nothing else, as for kube-proxy.
async fn healthz() -> Text<&'static str> {
    plain("ok")
}

async fn proxy_mode() -> Text<&'static str> {
    plain(MODE)
}

/// The configuration in effect, under the name that Kubernetes components give theirs.
async fn configz(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "kubeproxy.config.k8s.io": shared.settings.options.to_json() }))
}

async fn statusz(State(shared): State<Shared>) -> Text<String> {
    plain(status::page(&shared))
}
