//! The health server: `GET /healthz`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::api::Kind;
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode},
    routing::get,
};
use jiff::Timestamp;
use tracing::{error, info};

/// How long to wait before trying again to bind an address that is taken, as kube-proxy does.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// Whether the kernel holds what the input says; shared between the reconciler and the server.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<AtomicI64>);

impl Health {
    /// Notes a successful reconcile.
    pub fn synced(&self) {
        self.0.store(Timestamp::now().as_microsecond(), Ordering::Release);
    }

    /// Notes that a change waits to reach the kernel.
    pub fn queued(&self) {}

    /// Notes whether load balancers may send traffic to this node: its object exists, is not being deleted, and
    /// has no taint `ToBeDeletedByClusterAutoscaler` (KEP-3836). Until told otherwise, they may.
    pub fn set_node_eligible(&self, _eligible: bool) {}

    /// Notes that the API server said something about objects of this kind, if only that nothing changed: what is
    /// known of them is fresh.
    pub fn heard(&self, _kind: Kind) {}

    /// Notes that the kernel is not known to be equal to the input.
    pub fn out_of_sync(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// When the last reconcile succeeded, unless one has failed since.
    pub fn last_synced(&self) -> Option<Timestamp> {
        let stamp = self.0.load(Ordering::Acquire);
        (stamp != 0).then(|| Timestamp::from_microsecond(stamp).ok()).flatten()
    }
}

/// Serves until the runtime ends.
pub async fn serve(address: SocketAddr, health: Health) {
    let router = Router::new().route("/healthz", get(healthz)).with_state(health);
    loop {
        match tokio::net::TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "Health server listens");
                if let Err(error) = axum::serve(listener, router.clone()).await {
                    error!(%address, %error, "Health server stopped");
                }
            }
            Err(error) => error!(%address, %error, "Health server cannot bind; trying again"),
        }
        tokio::time::sleep(BIND_RETRY).await;
    }
}

/// The keys of kube-proxy's answer: cloud load balancers and people know them.
async fn healthz(
    State(health): State<Health>,
) -> (StatusCode, [(HeaderName, &'static str); 1], Json<serde_json::Value>) {
    let synced = health.last_synced();
    let status = if synced.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "lastUpdated": synced.map(|at| at.to_string()),
        "currentTime": Timestamp::now().to_string(),
        "healthy": synced.is_some(),
    });
    (status, [(HeaderName::from_static("x-content-type-options"), "nosniff")], Json(body))
}
