//! Credentials in files, which others replace while the agent runs: a token every hour or so, a client certificate
//! before it expires.
//!
//! They are read for every request, since requests are few. Left to itself, kube's client would read a certificate
//! once, keep a token for a minute, and take the end of the line in a token's file for a part of the token.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use kube::{Client, Config};
use tracing::{info, warn};

use super::connect::{self, Error};

/// Whom the API server is to take us for.
pub(super) struct Credentials {
    /// What a client is made of; nothing if it stays the same.
    config: Option<Config>,
    token_file: Option<PathBuf>,
    /// Of the client's certificate, and its key.
    certificate_files: Vec<PathBuf>,
    hasher: RandomState,
    last: Mutex<Last>,
}

/// What was read last.
struct Last {
    client: Client,
    /// Contents of the certificate's files, as a hash: one of them is secret.
    certificate: Option<u64>,
    /// Whether that they cannot be used was said.
    said: bool,
    token: Option<HeaderValue>,
}

impl Credentials {
    /// Reads them for the first time. Must be called within a runtime.
    ///
    /// # Errors
    /// They cannot be read, or make no sense.
    pub fn new(mut config: Config) -> Result<Self, Error> {
        let user = &mut config.auth_info;
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
        let token = token_file.as_deref().map(read_token).transpose();
        let token =
            token.map_err(|reason| Error::Credentials { url: config.cluster_url.to_string(), reason });
        let client = connect::client(&config)?;
        let last = Last { client, certificate: None, said: false, token: token? };
        let credentials = Self {
            config: Some(config),
            token_file,
            certificate_files,
            hasher: RandomState::new(),
            last: Mutex::new(last),
        };
        let certificate = credentials.read_certificate();
        credentials.last().certificate = certificate;
        Ok(credentials)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client to send a request with, and its `Authorization` if that is ours to add. What cannot be read at
    /// the moment stays what it was.
    pub fn current(&self) -> (Client, Option<HeaderValue>) {
        let mut last = self.last();
        if let Some(Ok(token)) = self.token_file.as_deref().map(read_token) {
            last.token = Some(token);
        }
        let certificate = self.read_certificate();
        if let (Some(config), true) = (&self.config, certificate.is_some() && certificate != last.certificate)
        {
            match connect::client(config) {
                Ok(client) => {
                    info!("Using another client certificate, which was put in the place of the last");
                    (last.client, last.certificate, last.said) = (client, certificate, false);
                }
                // Between the two files' being written this is as it should be, if only for a moment.
                Err(error) if !last.said => {
                    warn!("The new client certificate cannot be used, going on with the last: {error}");
                    last.said = true;
                }
                Err(_) => {}
            }
        }
        (last.client.clone(), last.token.clone())
    }

    /// What the certificate's files hold, as a hash; nothing if there are none, or they cannot be read.
    fn read_certificate(&self) -> Option<u64> {
        if self.certificate_files.is_empty() {
            return None;
        }
        let contents: io::Result<Vec<Vec<u8>>> = self.certificate_files.iter().map(fs::read).collect();
        Some(self.hasher.hash_one(contents.ok()?))
    }
}

/// The header that shows the token in a file; what is wrong, if there is none.
fn read_token(path: &Path) -> Result<HeaderValue, String> {
    let refuse = |reason: &dyn std::fmt::Display| format!("token file {}: {reason}", path.display());
    let text = fs::read_to_string(path).map_err(|error| refuse(&error))?;
    // As client-go: whoever writes such a file by hand ends the line.
    let token = text.trim();
    if token.is_empty() {
        return Err(refuse(&"it is empty"));
    }
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|_| refuse(&"it holds something else than a token"))?;
    header.set_sensitive(true);
    Ok(header)
}
