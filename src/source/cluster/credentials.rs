//! Credentials that others replace while the agent runs: a token in a file every hour or so, a client certificate
//! before it expires, what an exec plugin gives.
//!
//! Files are read for every request, since requests are few. Left to itself, kube's client would read a certificate
//! once, keep a token for a minute, and take the end of the line in a token's file for a part of the token. An exec
//! plugin is run by a task of its own, before what it gave expires and when the server refuses that: no request waits
//! for it.

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
    connect::{self, Error},
    exec_plugin::{Credential, Plugin},
};

/// A plugin is run anew this long before what it gave expires.
const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_secs(60);

/// How often to look at the clock: timers stand still while the machine is suspended.
const LOOK: Duration = Duration::from_secs(30);

/// How plugins are run.
#[derive(Clone, Copy, Debug)]
pub(super) struct PluginTimes {
    /// Longest time that one may take.
    pub limit: Duration,
    /// Least time from its end until it is run again.
    pub pause: Duration,
}

impl Default for PluginTimes {
    fn default() -> Self {
        Self { limit: Duration::from_mins(1), pause: Duration::from_secs(10) }
    }
}

/// As whom requests are made.
pub(super) struct Credentials(Arc<Shared>);

struct Shared {
    /// What a client is made of; nothing if it stays the same.
    config: Option<Config>,
    token_file: Option<PathBuf>,
    /// Of the client's certificate, and its key.
    certificate_files: Vec<PathBuf>,
    hasher: RandomState,
    last: Mutex<Last>,
    /// The server does not know what the plugin gave.
    refused: Notify,
}

/// What was read last.
struct Last {
    client: Client,
    /// Contents of the certificate's files, as a hash: one of them is secret.
    certificate: Option<u64>,
    certificate_trouble: Trouble,
    token: Option<HeaderValue>,
    token_trouble: Trouble,
    authority_trouble: Trouble,
}

impl From<Client> for Last {
    fn from(client: Client) -> Self {
        Self {
            client,
            certificate: None,
            certificate_trouble: Trouble::default(),
            token: None,
            token_trouble: Trouble::default(),
            authority_trouble: Trouble::default(),
        }
    }
}

/// Whether something cannot be used at the moment: logged when that begins and when it ends.
#[derive(Default)]
struct Trouble(bool);

impl Trouble {
    /// `what` is the beginning of a sentence, such as `The token`.
    fn note<T>(&mut self, what: &str, outcome: Result<T, String>) -> Option<T> {
        match outcome {
            Ok(value) => {
                if std::mem::take(&mut self.0) {
                    info!("{what} can be used again");
                }
                Some(value)
            }
            Err(reason) => {
                if !std::mem::replace(&mut self.0, true) {
                    warn!("{what} cannot be used, going on with the last: {reason}");
                }
                None
            }
        }
    }
}

impl Credentials {
    /// Reads them for the first time. An exec plugin is run, and from then on when that is due, by a task of the
    /// runtime.
    ///
    /// # Errors
    /// They cannot be read, or make no sense; the plugin fails.
    pub async fn new(config: Config) -> Result<Self, Error> {
        Self::with_times(config, PluginTimes::default()).await
    }

    /// [`Credentials::new`], with other times for plugins.
    pub async fn with_times(mut config: Config, times: PluginTimes) -> Result<Self, Error> {
        let url = config.cluster_url.to_string();
        let refuse = |reason| Error::Credentials { url: url.clone(), reason };
        let user = &mut config.auth_info;
        // As kube, which would run it by itself: only of a user without anything else.
        let has_other = user.token.is_some() || user.token_file.is_some() || user.password.is_some();
        let plugin = user.exec.take().filter(|_| !has_other).map(Plugin::new).transpose();
        let plugin = plugin.map_err(|error| refuse(error.to_string()))?;
        let token_file = user.token_file.take().map(PathBuf::from);
        if token_file.is_some() {
            // As client-go: of both, the file counts.
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
            let credential = plugin.run(times.limit).await.map_err(|error| refuse(error.to_string()))?;
            expires = credential.expires;
            identify(&mut config.auth_info, &credential);
            token = credential.token;
        }
        let client = connect::client(&config)?;
        let last = Last { token, ..Last::from(client) };
        let shared = Arc::new(Shared {
            config: Some(config),
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

    /// The client to send a request with, and its `Authorization` if that is ours to add. What cannot be read at
    /// the moment stays what it was.
    pub fn current(&self) -> (Client, Option<HeaderValue>) {
        let shared = &self.0;
        let mut last = shared.last();
        if let Some(token) = shared.token_file.as_deref().map(read_token)
            && let Some(token) = last.token_trouble.note("The token", token)
        {
            last.token = Some(token);
        }
        if let Some(config) = shared.config.as_ref().filter(|_| !shared.certificate_files.is_empty()) {
            let read = shared.read_certificate();
            // Between the two files' being written they do not belong together, if only for a moment.
            let new = read.and_then(|certificate| {
                let is_new = certificate != last.certificate;
                let client = is_new.then(|| connect::client(config).map_err(|error| error.to_string()));
                Ok(client.transpose()?.map(|client| (client, certificate)))
            });
            if let Some(Some((client, certificate))) =
                last.certificate_trouble.note("The client certificate", new)
            {
                info!("Using another client certificate, which was put in the place of the last");
                (last.client, last.certificate) = (client, certificate);
            }
        }
        // kube reads it by itself, every few minutes, and keeps what it has.
        if let Some(file) = shared.config.as_ref().and_then(|config| config.root_cert_file.as_deref()) {
            last.authority_trouble.note("The certificate authority", read_authority(file));
        }
        (last.client.clone(), last.token.clone())
    }

    /// The server does not know who we are (401): a plugin is run anew, if there is one.
    pub fn refused(&self) {
        self.0.refused.notify_one();
    }
}

impl Shared {
    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the certificate's files hold, as a hash; nothing if there are none.
    fn read_certificate(&self) -> Result<Option<u64>, String> {
        if self.certificate_files.is_empty() {
            return Ok(None);
        }
        let read = |path: &PathBuf| fs::read(path).map_err(|error| of_file(path, &error));
        let contents: Result<Vec<Vec<u8>>, String> = self.certificate_files.iter().map(read).collect();
        Ok(Some(self.hasher.hash_one(contents?)))
    }

    /// Goes on with what a plugin gave.
    fn take_over(&self, credential: Credential) -> Result<(), String> {
        let client = match (&self.config, &credential.identity) {
            (Some(config), Some(_)) => {
                let mut config = config.clone();
                identify(&mut config.auth_info, &credential);
                Some(connect::client(&config).map_err(|error| error.to_string())?)
            }
            _ => None,
        };
        let mut last = self.last();
        last.client = client.unwrap_or_else(|| last.client.clone());
        last.token = credential.token;
        Ok(())
    }
}

/// Runs a plugin when that is due, until the runtime ends.
async fn follow(shared: Arc<Shared>, plugin: Plugin, mut expires: Option<Timestamp>, times: PluginTimes) {
    let mut trouble = Trouble::default();
    loop {
        // However soon it expires, and however often the server refuses it.
        sleep(times.pause).await;
        if !trouble.0 {
            tokio::select! {
                () = expiring(expires) => {}
                () = shared.refused.notified() => {}
            }
        }
        let given = plugin.run(times.limit).await.map_err(|error| error.to_string());
        let taken = given.and_then(|credential| {
            let new = credential.expires;
            shared.take_over(credential).map(|()| new)
        });
        if let Some(new) = trouble.note("What the exec plugin gives", taken) {
            debug!(?new, "Using what the exec plugin gave");
            expires = new;
        }
    }
}

/// Waits until something is about to expire.
async fn expiring(expires: Option<Timestamp>) {
    let Some(expires) = expires else { return std::future::pending().await };
    loop {
        let left = expires.duration_since(Timestamp::now()) - BEFORE_EXPIRY;
        let Some(left) = Duration::try_from(left).ok().filter(|left| !left.is_zero()) else { return };
        sleep(left.min(LOOK)).await;
    }
}

/// Has a client show the certificate that a plugin gave, if it gave one.
fn identify(user: &mut AuthInfo, credential: &Credential) {
    if let Some((certificate, key)) = &credential.identity {
        user.client_certificate_data = Some(STANDARD.encode(certificate));
        user.client_key_data = Some(STANDARD.encode(key).into());
    }
}

/// The header that shows a token; nothing if it is none.
pub(super) fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// The header that shows the token in a file; what is wrong, if there is none.
fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let refuse = |reason: &str| format!("token file {}: {reason}", path.display());
    let text = fs::read_to_string(path).map_err(|error| refuse(&error.to_string()))?;
    // As client-go: whoever writes such a file by hand ends the line.
    let token = text.trim();
    if token.is_empty() {
        return Err(refuse("it is empty"));
    }
    bearer(token).ok_or_else(|| refuse("it holds something else than a token"))
}

/// What is wrong with a file of certificate authorities.
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
