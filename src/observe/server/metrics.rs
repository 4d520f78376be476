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

/// Most connections at a time.
pub const CONNECTIONS: usize = 64;

/// The content type of text for people.
const PLAIN: &str = "text/plain; charset=utf-8";

/// The mode that `/proxyMode` reports, as kube-proxy does: other components read it.
const MODE: &str = "nftables";

type Text<T> = ([(HeaderName, &'static str); 2], T);

/// The routes.
pub fn router(shared: &Shared) -> Router {
    Router::new()
        .route(
            "/metrics",
            any(async |State(Shared { metrics, health, .. })| text(METRICS, metrics.text(&health))),
        )
        .route("/metrics/slis", any(async |State(Shared { health, .. })| text(METRICS, slis(&health))))
        // Whether this server responds; nothing else is checked, as with kube-proxy.
        .route("/healthz", any(async || text(PLAIN, "ok")))
        .route("/proxyMode", any(async || text(PLAIN, MODE)))
        .route("/configz", any(configz))
        .route("/statusz", any(async |State(shared): State<Shared>| text(PLAIN, status::page(&shared))))
        .with_state(shared.clone())
}

fn text<T>(kind: &'static str, text: T) -> Text<T> {
    ([(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")], text)
}

/// The configuration in effect, under the name that Kubernetes components use.
async fn configz(State(shared): State<Shared>) -> Json<Value> {
    Json(json!({ "kubeproxy.config.k8s.io": shared.settings.options.to_json() }))
}
