//! Where the API server is, and with what credentials: `--kubeconfig`, `--master`, or those of a Pod.

use std::{path::Path, time::Duration};

use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client as HttpClient,
        connect::{Connect, HttpConnector},
    },
    rt::TokioExecutor,
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::{BoxError, ServiceBuilder};

use super::{failure::Failure, proxy};
use crate::config::settings::{ApiSettings, parse_url};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// Most that is read of a connection at once. There is a buffer for each watch, which would grow to half a megabyte while
/// everything is listed, and stay so.
const READ_BUFFER: usize = 64 << 10;

/// A connection on which nothing was sent for so long is probed,
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// this often,
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// and given up after so many probes without an answer; or when what was sent is not acknowledged for as long as
/// all of that takes.
const KEEPALIVE_PROBES: u32 = 3;

/// Given when a Pod's API server cannot be reached: what most often is the matter when a proxy starts.
pub(super) const IN_CLUSTER_HINT: &str =
    "; KUBERNETES_SERVICE_HOST must be an address that works without a proxy, not a ClusterIP";

/// Why the API server cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig file cannot be used.
    #[error("{path}: {reason}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why, in one line.
        reason: String,
    },
    /// The URL is none.
    #[error("--master: {value:?} is not a URL such as https://192.0.2.1:6443")]
    Master {
        /// The value.
        value: String,
    },
    /// A Pod's credentials are not there.
    #[error(
        "no --kubeconfig and no --master, and not in a Pod with a service account (KUBERNETES_SERVICE_HOST, \
         KUBERNETES_SERVICE_PORT, /var/run/secrets/kubernetes.io/serviceaccount): {0}"
    )]
    InCluster(#[from] InClusterError),
    /// The proxy on the way cannot be used.
    #[error("{reason}")]
    Proxy {
        /// What names it, and why not, in one line.
        reason: String,
    },
    /// The credentials cannot be used.
    #[error("the credentials for {url} cannot be used: {reason}")]
    Credentials {
        /// The API server.
        url: String,
        /// Why, in one line.
        reason: String,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread of the API server: {0}")]
    Thread(#[from] std::io::Error),
}

/// Finds out where the API server is. As client-go: the URL of `--master` wins over the kubeconfig's; without either,
/// the environment and files of a Pod are used.
pub(super) async fn config(settings: &ApiSettings) -> Result<Config, Error> {
    let master = settings.master.as_deref().map(str::trim).filter(|master| !master.is_empty());
    let mut config = match (&settings.kubeconfig, master) {
        (Some(path), _) => from_file(path, master).await?,
        (None, Some(master)) => Config::new(parse_master(master, false)?),
        (None, None) => Config::incluster_env()?,
    };
    if config.proxy_url.is_none() {
        let chosen = proxy::of_environment(&config.cluster_url, |name| std::env::var(name).ok());
        config.proxy_url = chosen.map_err(|reason| Error::Proxy { reason })?;
    }
    config.connect_timeout = Some(CONNECT);
    Ok(config)
}

async fn from_file(path: &Path, master: Option<&str>) -> Result<Config, Error> {
    let shown = || path.display().to_string();
    let refuse = |error: KubeconfigError| Error::Kubeconfig { path: shown(), reason: first_line(&error) };
    let mut kubeconfig = Kubeconfig::read_from(path).map_err(refuse)?;
    if kubeconfig.current_context.as_ref().is_none_or(String::is_empty) {
        return Err(Error::Kubeconfig { path: shown(), reason: "it has no current-context".to_owned() });
    }
    let context = kubeconfig.current_context.as_ref().and_then(|name| {
        let context = kubeconfig.contexts.iter().find(|context| context.name == *name)?;
        context.context.clone()
    });
    let user = context.as_ref().and_then(|context| context.user.as_ref()).filter(|user| !user.is_empty());
    if let Some(user) = user.filter(|user| !kubeconfig.auth_infos.iter().any(|info| info.name == **user)) {
        // kube would go there as nobody.
        let reason = format!("the context names the user {user:?}, and there is none of that name");
        return Err(Error::Kubeconfig { path: shown(), reason });
    }
    for info in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        if let Some(command) = info.exec.as_mut().and_then(|exec| exec.command.as_mut())
            && command.contains('/')
            && let Some(directory) = path.parent()
        {
            // As client-go; a name without a slash is looked for in $PATH.
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
            (None, Some(server)) => parse_url(server, is_tls).ok_or_else(|| Error::Kubeconfig {
                path: shown(),
                reason: format!("server {server:?} is not a URL such as https://192.0.2.1:6443"),
            })?,
            // What is missing is told below.
            (None, None) => continue,
        };
        if let Some(text) = cluster.proxy_url.take().filter(|text| !text.is_empty()) {
            let refuse = |reason| Error::Proxy { reason: format!("{}: proxy-url: {reason}", shown()) };
            if url.scheme_str() != Some("https") {
                return Err(refuse(format!(
                    "{url} has no TLS, and proxies are asked for connections with TLS only"
                )));
            }
            proxy = Some(proxy::parse(&text).map_err(refuse)?);
        }
        cluster.server = Some(url.to_string());
    }
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(refuse)?;
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        let reason = "the certificate authority has no certificate (PEM)".to_owned();
        return Err(Error::Kubeconfig { path: shown(), reason });
    }
    if let Some(provider) = &config.auth_info.auth_provider {
        let reason = format!(
            "the user's auth-provider {:?} is not supported, nor is it by kube-proxy; use exec, a token or a client \
             certificate",
            provider.name
        );
        return Err(Error::Kubeconfig { path: shown(), reason });
    }
    config.proxy_url = proxy;
    // Read again and again: authorities change, and nodes stay.
    config.root_cert_file = authority.map(Into::into);
    Ok(config)
}

/// The first line of an error with its causes; a parser goes on to show the text.
fn first_line(error: &(dyn std::error::Error + 'static)) -> String {
    let text = Failure::transport(error).to_string();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn parse_master(text: &str, is_tls: bool) -> Result<http::Uri, Error> {
    parse_url(text, is_tls).ok_or_else(|| Error::Master { value: text.to_owned() })
}

/// A client that notices when its connections are dead. Must be called within a runtime.
pub(super) fn client(config: &Config) -> Result<Client, Error> {
    let refuse = |error: kube::Error| Error::Credentials {
        url: config.cluster_url.to_string(),
        reason: first_line(&error),
    };
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
    .map_err(refuse)
}

/// A client on top of what makes connections.
fn assemble<C>(config: &Config, connector: C) -> kube::Result<Client>
where
    HttpsConnector<C>: Connect + Clone + Send + Sync + 'static,
{
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> =
        HttpClient::builder(TokioExecutor::new()).http1_max_buf_size(READ_BUFFER).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Says in words what is only hinted at by the libraries below.
pub(super) fn explain(mut message: String) -> String {
    let hints = [
        (
            "CaUsedAsEndEntity",
            "; the API server's certificate is that of a certificate authority (CA:TRUE), which is not accepted for a \
             server: have the authority sign another one for it",
        ),
        ("tunnel error", "; the proxy is the one of $HTTPS_PROXY, or of proxy-url in the kubeconfig"),
    ];
    for (sign, hint) in hints {
        if message.contains(sign) {
            message.push_str(hint);
        }
    }
    message
}
