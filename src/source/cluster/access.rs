//! Access to a cluster: the URL of its API server, and the credentials of requests.

use http::Uri;
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use super::{
    connect::{self, Error, IN_CLUSTER_HINT},
    credentials::Credentials,
    options::Options,
    proxy,
    request::Connection,
};
use crate::config::settings::ApiSettings;

/// A cluster whose credentials have been read, so that requests can be sent.
pub struct Cluster {
    pub(super) runtime: Runtime,
    pub(super) connection: Connection,
    pub(super) url: Uri,
    pub(super) options: Options,
    pub(super) hint: Option<&'static str>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the address and the credentials of the API server; sends nothing yet.
    ///
    /// # Errors
    /// The flags, the kubeconfig or the credentials of the Pod cannot be used.
    pub fn new(api: &ApiSettings, options: Options) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            // For name resolution only.
            .max_blocking_threads(4)
            .build()?;
        let config = runtime.block_on(connect::config(api))?;
        let url = config.cluster_url.clone();
        if let Some(proxy) = &config.proxy_url {
            info!(proxy = proxy::shown(proxy), "Using a proxy to reach the API server");
        }
        if config.accept_invalid_certs {
            warn!("insecure-skip-tls-verify: the certificate of the API server is not checked");
        }
        let credentials = runtime.block_on(Credentials::new(config))?;
        let is_in_cluster = api.kubeconfig.is_none() && api.master.is_none();
        let connection = Connection::new(credentials, options.timing, api.is_json);
        Ok(Self { runtime, connection, url, options, hint: is_in_cluster.then_some(IN_CLUSTER_HINT) })
    }
}
