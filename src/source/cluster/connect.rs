//! The address and credentials of the API server: from `--kubeconfig`, from `--master`, or from a Pod.

use std::{path::Path, time::Duration};

use http::HeaderValue;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as HttpClient,
        connect::{Connect, HttpConnector},
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, ServiceBuilder};

use super::{error::RequestError, proxy};
use crate::config::settings::{ApiSettings, parse_url};

/// Timeout of a connection attempt.
const CONNECT: Duration = Duration::from_secs(10);

/// Size of the read buffer of a connection. By default, it would grow to half a megabyte during lists, and not shrink.
const READ_BUFFER: usize = 64 << 10;

/// How many bytes a server may send on an HTTP/2 connection, and for one request, before the client has read them.
const CONNECTION_WINDOW: u32 = 2 << 20;
const STREAM_WINDOW: u32 = 256 << 10;

/// How often an HTTP/2 connection is probed (PING), and how long an answer may take; as in client-go.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection that has been idle for this long is probed (TCP keepalive), for servers without HTTP/2.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Time between two probes.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// A connection is closed after this many unanswered probes, or when data is not acknowledged in the time that the
/// probes take.
const KEEPALIVE_PROBES: u32 = 3;

/// Logged when a Pod's API server cannot be reached: the most frequent cause when a proxy starts.
pub(super) const IN_CLUSTER_HINT: &str =
    "KUBERNETES_SERVICE_HOST must be an address that works without a proxy, not a ClusterIP";

/// The API server cannot be used: what is wrong with its address, its credentials or its answer, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(super) String);

impl Error {
    /// The credentials for this API server are invalid.
    pub(super) fn credentials(url: &http::Uri, reason: impl std::fmt::Display) -> Self {
        Self(format!("the credentials for {url} cannot be used: {reason}"))
    }
}

/// The thread of the API server, or its runtime, cannot be started.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(format!("cannot start the thread of the API server: {error}"))
    }
}

/// The configuration of the client. As in client-go, the URL of `--master` takes precedence over the kubeconfig's.
/// Without either, the environment and files of a Pod are used.
pub(super) async fn config(settings: &ApiSettings) -> Result<Config, Error> {
    let master = settings.master.as_deref().map(str::trim).filter(|master| !master.is_empty());
    let mut config = match (&settings.kubeconfig, master) {
        (Some(path), _) => from_file(path, settings.context.as_deref(), master).await?,
        (None, Some(master)) => Config::new(parse_master(master, false)?),
        (None, None) => Config::incluster_env().map_err(|error| {
            Error(format!(
                "no --kubeconfig and no --master, and not in a Pod with a service account (KUBERNETES_SERVICE_HOST, \
                 KUBERNETES_SERVICE_PORT, /var/run/secrets/kubernetes.io/serviceaccount): {error}"
            ))
        })?,
    };
    if config.proxy_url.is_none() {
        let chosen = proxy::of_environment(&config.cluster_url, |name| std::env::var(name).ok());
        config.proxy_url = chosen.map_err(Error)?;
    }
    config.connect_timeout = Some(CONNECT);
    Ok(config)
}

async fn from_file(path: &Path, context: Option<&str>, master: Option<&str>) -> Result<Config, Error> {
    let refuse = |reason: &str| Error(format!("{}: {reason}", path.display()));
    let invalid = |error: KubeconfigError| refuse(&first_line(&error));
    let mut kubeconfig = Kubeconfig::read_from(path).map_err(invalid)?;
    if let Some(name) = context {
        if !kubeconfig.contexts.iter().any(|context| context.name == name) {
            let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| &*context.name).collect();
            return Err(refuse(&format!("it has no context {name:?}, but {}", known.join(", "))));
        }
        kubeconfig.current_context = Some(name.to_owned());
    }
    if kubeconfig.current_context.as_ref().is_none_or(String::is_empty) {
        return Err(refuse("it has no current-context"));
    }
    let context = kubeconfig.current_context.as_ref().and_then(|name| {
        let context = kubeconfig.contexts.iter().find(|context| context.name == *name)?;
        context.context.clone()
    });
    let user = context.as_ref().and_then(|context| context.user.as_ref()).filter(|user| !user.is_empty());
    if let Some(user) = user.filter(|user| !kubeconfig.auth_infos.iter().any(|info| info.name == **user)) {
        // kube would send requests without credentials.
        return Err(refuse(&format!("the context's user {user:?} does not exist")));
    }
    for info in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        if let Some(command) = info.exec.as_mut().and_then(|exec| exec.command.as_mut())
            && command.contains('/')
            && let Some(directory) = path.parent()
        {
            // As in client-go. A name without a slash is looked up in $PATH.
            *command = directory.join(&*command).to_string_lossy().into_owned();
        }
    }
    let cluster_name = context.map(|context| context.cluster);
    let clusters = kubeconfig.clusters.iter_mut().filter(|named| Some(&named.name) == cluster_name.as_ref());
    let (mut authority, mut proxy) = (None, None);
    for cluster in clusters.filter_map(|named| named.cluster.as_mut()) {
        if cluster.certificate_authority_data.is_none() {
            authority = cluster.certificate_authority.clone();
        }
        let is_tls = cluster.certificate_authority.is_some()
            || cluster.certificate_authority_data.is_some()
            || cluster.insecure_skip_tls_verify == Some(true);
        let url = match (master, &cluster.server) {
            (Some(master), _) => parse_master(master, is_tls)?,
            (None, Some(server)) => parse_url(server, is_tls).ok_or_else(|| {
                refuse(&format!("server {server:?} is not a URL such as https://192.0.2.1:6443"))
            })?,
            // kube reports what is missing, below.
            (None, None) => continue,
        };
        if let Some(text) = cluster.proxy_url.take().filter(|text| !text.is_empty()) {
            if url.scheme_str() != Some("https") {
                return Err(refuse(&format!(
                    "proxy-url: {url} has no TLS, and proxies are used for connections with TLS only"
                )));
            }
            proxy = Some(proxy::parse(&text).map_err(|reason| refuse(&format!("proxy-url: {reason}")))?);
        }
        cluster.server = Some(url.to_string());
    }
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(invalid)?;
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err(refuse("the certificate authority has no certificate (PEM)"));
    }
    if let Some(provider) = &config.auth_info.auth_provider {
        return Err(refuse(&format!(
            "the user's auth-provider {:?} is not supported by Portolan or kube-proxy; use exec, a token or a client \
             certificate",
            provider.name
        )));
    }
    config.proxy_url = proxy;
    // kube reads the file again from time to time, since authorities change.
    config.root_cert_file = authority.map(Into::into);
    Ok(config)
}

/// The first line of an error with its causes; parsers add excerpts of the text in further lines.
fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    let text = RequestError::transport(error).to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn parse_master(text: &str, is_tls: bool) -> Result<http::Uri, Error> {
    let invalid = || Error(format!("--master: {text:?} is not a URL such as https://192.0.2.1:6443"));
    parse_url(text, is_tls).ok_or_else(invalid)
}

/// A client that detects dead connections. Must be called within a runtime.
pub(super) fn client(config: &Config) -> Result<Client, Error> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_keepalive(Some(KEEPALIVE_AFTER));
    connector.set_keepalive_interval(Some(KEEPALIVE_EVERY));
    connector.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    connector.set_tcp_user_timeout(Some(KEEPALIVE_AFTER + KEEPALIVE_EVERY * KEEPALIVE_PROBES));
    match &config.proxy_url {
        None => assemble(config, connector),
        Some(proxy) => assemble(config, proxy::tunnel(proxy, connector)),
    }
    .map_err(|error| Error::credentials(&config.cluster_url, first_line(&error)))
}

/// A client that uses this connector: HTTP/2 on one connection where the server offers it, else HTTP/1.1.
fn assemble<C>(config: &Config, connector: C) -> kube::Result<Client>
where
    HttpsConnector<C>: Connect + Clone + Send + Sync + 'static,
{
    let mut builder =
        HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    if let Some(name) = config.tls_server_name.clone() {
        let name = name.try_into().map_err(|error| kube::Error::Service(Box::new(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let connector = builder.enable_http1().enable_http2().wrap_connector(connector);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http1_max_buf_size(READ_BUFFER)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The `Authorization` header for a token; `None` if the token is invalid.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}
