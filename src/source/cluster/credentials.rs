//! Credentials that are replaced while the agent runs: the token in a file every hour or so, a client certificate before
//! it expires, the credentials of an exec plugin.
//!
//! Files are read for every request, since requests are few. kube's client alone would read a certificate only once,
//! keep a token for a minute, and treat the line break at the end of a token's file as part of the token. A separate
//! task runs an exec plugin before its credentials expire and when the server refuses them, so that no request waits
//! for the plugin.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config, config::AuthInfo};
use tokio::{sync::Notify, time::sleep};
use tracing::{debug, info, warn};

use super::{
    connect::{self, Error, bearer},
    exec_plugin::{Credential, Plugin},
};

/// A plugin runs again this long before its credentials expire.
const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(60);

/// How often to check the clock: timers do not run while the machine is suspended.
const LOOK: Duration = Duration::from_secs(30);

/// Limits for plugins.
#[derive(Clone, Copy, Debug)]
pub(super) struct PluginTimes {
    /// Timeout of a run.
    pub limit: Duration,
    /// Minimum time between two runs.
    pub pause: Duration,
}

impl Default for PluginTimes {
    fn default() -> Self {
        Self { limit: Duration::from_mins(1), pause: Duration::from_secs(10) }
    }
}

/// The credentials of requests.
pub(super) struct Credentials(Arc<Shared>);

struct Shared {
    /// The configuration of the client.
    config: Config,
    token_file: Option<PathBuf>,
    /// The files of the client's certificate and key.
    certificate_files: Vec<PathBuf>,
    hasher: RandomState,
    last: Mutex<Last>,
    /// Notified when the server has refused the credentials.
    refused: Notify,
}

/// The credentials last read.
struct Last {
    client: Client,
    /// Hash of the contents of the certificate's files. Only a hash, since the key is secret.
    certificate: Option<u64>,
    certificate_state: CredentialState,
    token: Option<HeaderValue>,
    token_state: CredentialState,
    authority_state: CredentialState,
}

/// Whether a credential is invalid at the moment. Logs when it becomes invalid, and when it is valid again.
#[derive(Default)]
struct CredentialState {
    is_invalid: bool,
}

impl CredentialState {
    /// Returns the credential, if it is valid.
    fn update<T>(&mut self, credential: &str, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if std::mem::take(&mut self.is_invalid) {
                    info!(credential, "Credential can be used again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_invalid, true) {
                    warn!(credential, error, "Credential cannot be used; continuing with the last one");
                }
                None
            }
        }
    }
}

impl Credentials {
    /// Reads the credentials for the first time. An exec plugin is run, and a task of the runtime runs it again
    /// whenever that is due.
    ///
    /// # Errors
    /// Credentials cannot be read or are invalid; the plugin fails.
    pub async fn new(config: Config) -> Result<Self, Error> {
        Self::with_times(config, PluginTimes::default()).await
    }

    /// [`Credentials::new`], with other limits for plugins.
    pub async fn with_times(mut config: Config, times: PluginTimes) -> Result<Self, Error> {
        let url = config.cluster_url.clone();
        let refuse = |reason| Error::credentials(&url, reason);
        let user = &mut config.auth_info;
        // As in kube, which would otherwise run the plugin: only for a user without other credentials.
        let has_other = user.token.is_some() || user.token_file.is_some() || user.password.is_some();
        let plugin = user.exec.take().filter(|_| !has_other).map(Plugin::new).transpose();
        let plugin = plugin.map_err(refuse)?;
        let token_file = user.token_file.take().map(PathBuf::from);
        if token_file.is_some() {
            // As in client-go, the file takes precedence.
            user.token = None;
        }
        let certificate_files = [
            user.client_certificate.clone().filter(|_| user.client_certificate_data.is_none()),
            user.client_key.clone().filter(|_| user.client_key_data.is_none()),
        ];
        let certificate_files = certificate_files.into_iter().flatten().map(PathBuf::from).collect();
        let mut token = token_file.as_deref().map(read_token).transpose().map_err(refuse)?;
        let mut expires = None;
        if let Some(plugin) = &plugin {
            let credential = plugin.run(times.limit).await.map_err(refuse)?;
            expires = credential.expires;
            identify(&mut config.auth_info, &credential);
            token = credential.token;
        }
        let last = Last {
            client: connect::client(&config)?,
            certificate: None,
            certificate_state: CredentialState::default(),
            token,
            token_state: CredentialState::default(),
            authority_state: CredentialState::default(),
        };
        let shared = Arc::new(Shared {
            config,
            token_file,
            certificate_files,
            hasher: RandomState::new(),
            last: Mutex::new(last),
            refused: Notify::new(),
        });
        shared.last().certificate = shared.read_certificate().ok().flatten();
        if let Some(plugin) = plugin {
            tokio::spawn(follow(Arc::clone(&shared), plugin, expires, times));
        }
        Ok(Self(shared))
    }

    /// The client to send a request with, and the `Authorization` header, if kube does not add it. If credentials
    /// cannot be read at the moment, the last ones are returned.
    pub fn current(&self) -> (Client, Option<HeaderValue>) {
        let shared = &self.0;
        let mut last = shared.last();
        if let Some(token) = shared.token_file.as_deref().map(read_token)
            && let Some(token) = last.token_state.update("token", token)
        {
            last.token = Some(token);
        }
        // While the files are being replaced, certificate and key do not match for a moment.
        let new = shared.read_certificate().and_then(|certificate| {
            let is_new = certificate != last.certificate;
            let client = is_new.then(|| connect::client(&shared.config).map_err(|error| error.to_string()));
            Ok(client.transpose()?.map(|client| (client, certificate)))
        });
        if let Some(Some((client, certificate))) = last.certificate_state.update("client certificate", new) {
            info!("Client certificate replaced");
            (last.client, last.certificate) = (client, certificate);
        }
        // kube reads the file every few minutes, and keeps the last valid content.
        if let Some(file) = &shared.config.root_cert_file {
            last.authority_state.update("certificate authority", read_authority(file));
        }
        (last.client.clone(), last.token.clone())
    }

    /// Notes that the server has refused the credentials (401), so that the plugin runs again, if there is one.
    pub fn refused(&self) {
        self.0.refused.notify_one();
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contents of the certificate's files, as a hash; `None` if there are no such files.
    fn read_certificate(&self) -> Result<Option<u64>, String> {
        if self.certificate_files.is_empty() {
            return Ok(None);
        }
        let read = |path: &PathBuf| fs::read(path).map_err(|error| of_file(path, &error));
        let contents: Result<Vec<Vec<u8>>, String> = self.certificate_files.iter().map(read).collect();
        Ok(Some(self.hasher.hash_one(contents?)))
    }

    /// Uses the credentials of a plugin from now on.
    fn take_over(&self, credential: Credential) -> Result<(), String> {
        let mut client = None;
        if credential.identity.is_some() {
            let mut config = self.config.clone();
            identify(&mut config.auth_info, &credential);
            client = Some(connect::client(&config).map_err(|error| error.to_string())?);
        }
        let mut last = self.last();
        last.client = client.unwrap_or_else(|| last.client.clone());
        last.token = credential.token;
        Ok(())
    }
}

/// Runs a plugin when it is due, until the runtime ends.
async fn follow(shared: Arc<Shared>, plugin: Plugin, mut expires: Option<Timestamp>, times: PluginTimes) {
    let mut state = CredentialState::default();
    loop {
        // Always pause, however soon the credentials expire and however often the server refuses them.
        sleep(times.pause).await;
        if !state.is_invalid {
            tokio::select! {
                () = expiring(expires) => {}
                () = shared.refused.notified() => {}
            }
        }
        let taken = plugin.run(times.limit).await.and_then(|credential| {
            let new = credential.expires;
            shared.take_over(credential).map(|()| new)
        });
        if let Some(new) = state.update("exec plugin", taken) {
            debug!(expires = ?new, "Using new credentials of the exec plugin");
            expires = new;
        }
    }
}

/// Waits until credentials are about to expire.
async fn expiring(expires: Option<Timestamp>) {
    let Some(expires) = expires else { return std::future::pending().await };
    loop {
        let left = expires.duration_since(Timestamp::now()) - BEFORE_EXPIRY;
        let Some(left) = Duration::try_from(left).ok().filter(|left| !left.is_zero()) else { return };
        sleep(left.min(LOOK)).await;
    }
}

/// Adds the client certificate of a plugin, if it has one, to a configuration.
fn identify(user: &mut AuthInfo, credential: &Credential) {
    if let Some((certificate, key)) = &credential.identity {
        user.client_certificate_data = Some(STANDARD.encode(certificate));
        user.client_key_data = Some(STANDARD.encode(key).into());
    }
}

/// The `Authorization` header for the token in a file.
///
/// # Errors
/// Why there is no valid token, in one line.
fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let refuse = |reason: &str| format!("token file {}: {reason}", path.display());
    let text = fs::read_to_string(path).map_err(|error| refuse(&error.to_string()))?;
    // As client-go: files written by hand end with a line break.
    let token = text.trim();
    if token.is_empty() {
        return Err(refuse("it is empty"));
    }
    bearer(token).ok_or_else(|| refuse("it does not hold a token"))
}

/// Checks a file of certificate authorities.
fn read_authority(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| of_file(path, &error))?;
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(());
    }
    Err(format!("{}: it has no certificate (PEM)", path.display()))
}

fn of_file(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
