//! Reading the file.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde_saphyr::{Budget, Options};

use super::KubeProxyConfiguration;

/// The group and version of [`KubeProxyConfiguration`].
pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
/// Its kind.
pub const KIND: &str = "KubeProxyConfiguration";

/// No configuration is longer; a device or a wrong file may be.
const LENGTH: u64 = 1 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too long to be one.
    #[error("{}: is longer than a configuration can be (1 MiB)", .0.display())]
    Length(PathBuf),
    /// It is not what it should be.
    #[error("{}{}: {field}{message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: Option<u64>,
        /// Which field, with a colon after it; empty if that is not known.
        field: String,
        /// What is wrong.
        message: String,
    },
}

/// Reads a configuration file, YAML or JSON. Unknown fields are an error: what is misspelt would be ignored
/// otherwise, and nobody would know.
pub fn read(path: &Path) -> Result<KubeProxyConfiguration, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(LENGTH + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > LENGTH {
        return Err(ReadError::Length(path.to_owned()));
    }
    parse(path, &bytes)
}

/// Reads the content of a configuration file; the path is for messages.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<KubeProxyConfiguration, ReadError> {
    let content = |line, field: &str, message: &str| ReadError::Content {
        path: path.to_owned(),
        line,
        field: if field.is_empty() { String::new() } else { format!("{field}: ") },
        message: message.to_owned(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| content(None, "", "is not UTF-8 text"))?;
    let mut field = String::new();
    let mut options = Options::default();
    let mut budget = Budget::default();
    budget.max_depth = 16;
    options.budget = Some(budget);
    options.with_snippet = false;
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let read = <KubeProxyConfiguration as serde::Deserialize>::deserialize(tracked);
        if read.is_err() {
            field = track.path().to_string();
        }
        read
    });
    let configuration: KubeProxyConfiguration = read.map_err(|error| {
        let line = error.location().map(|location| location.line());
        let (key, message) = message(&error.to_string());
        let field = match (key, &*field) {
            // Of a key that is there twice the path ends before its name.
            (Some(key), path) => format!("{}{key}", path.strip_suffix('?').unwrap_or_default()),
            (None, ".") => String::new(),
            (None, path) => path.to_owned(),
        };
        content(line, &one_line(&field), &message)
    })?;
    for (field, found, expected) in
        [("apiVersion", &configuration.api_version, API_VERSION), ("kind", &configuration.kind, KIND)]
    {
        match found.as_deref() {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(content(None, field, &format!("{found:?} is not supported, only {expected}")));
            }
            None => return Err(content(None, field, &format!("is missing, must be {expected}"))),
        }
    }
    Ok(configuration)
}

/// What a parser says in its words, by what it says first, and what an operator is told.
const WORDS: [(&str, &str); 12] = [
    ("unknown field", "is no field of this file"),
    ("multiple YAML documents", "there is more than one document"),
    ("expected mapping start", "is not a mapping of fields to values"),
    ("expected sequence start", "is not a list"),
    ("expected string scalar", "is not a text"),
    ("cannot deserialize null", "must not be null"),
    ("invalid boolean", "is neither true nor false"),
    ("invalid floating point", "is not a number"),
    ("invalid i32", "is not a whole number, or too large"),
    ("invalid i64", "is not a whole number, or too large"),
    ("invalid u32", "is not a whole number from 0 on, or too large"),
    ("data did not match any variant", "is neither a text nor a number"),
];

/// A parser's message in one line and in words about the file: without the place, which goes before it, and without
/// advice to programmers. And the key that is there twice, if that is what is wrong.
fn message(message: &str) -> (Option<String>, String) {
    let message = one_line(message);
    let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
    if let Some(rest) = message.strip_prefix("duplicate mapping key: ") {
        let key = rest.split(", set ").next().unwrap_or(rest);
        return (Some(key.to_owned()), "is there twice".to_owned());
    }
    let known = WORDS.iter().find(|(start, _)| message.starts_with(start));
    (None, known.map_or(message, |(_, words)| words).to_owned())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    fn error(text: &str) -> String {
        parse(Path::new("/etc/config.conf"), text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        for (body, expected) in [
            ("clusterCidr: 10.0.0.0/8\n", "/etc/config.conf:3: clusterCidr: is no field of this file"),
            ("conntrack:\n  minimum: 5\n", "/etc/config.conf:4: conntrack.minimum: is no field of this file"),
            ("conntrack:\n  min: many\n", "/etc/config.conf:4: conntrack.min: "),
            (
                "nftables:\n  syncPeriod: 30\n",
                "/etc/config.conf:4: nftables.syncPeriod: \"30\" is not a duration",
            ),
            ("mode: nftables\nmode: nftables\n", "/etc/config.conf:4: mode: is there twice"),
            ("conntrack:\n  min: 1\n  min: 2\n", "/etc/config.conf:5: conntrack.min: is there twice"),
            (
                "oomScoreAdj: 99999999999\n",
                "/etc/config.conf:3: oomScoreAdj: is not a whole number, or too large",
            ),
            (
                "conntrack:\n  min: 0.5\n",
                "/etc/config.conf:4: conntrack.min: is not a whole number, or too large",
            ),
            (
                "logging: {verbosity: -1}\n",
                "/etc/config.conf:3: logging.verbosity: is not a whole number from 0 on",
            ),
            ("clientConnection: {qps: fast}\n", "/etc/config.conf:3: clientConnection.qps: is not a number"),
            (
                "bindAddressHardFail: perhaps\n",
                "/etc/config.conf:3: bindAddressHardFail: is neither true nor false",
            ),
            ("nodePortAddresses: primary\n", "/etc/config.conf:3: nodePortAddresses: is not a list"),
            ("nodePortAddresses: [null]\n", "/etc/config.conf:3: nodePortAddresses[0]: must not be null"),
            (
                "logging: {flushFrequency: true}\n",
                "/etc/config.conf:3: logging.flushFrequency: is neither a text nor a number",
            ),
            ("conntrack: 5\n", "/etc/config.conf:3: conntrack: is not a mapping of fields to values"),
            ("mode: [nftables]\n", "/etc/config.conf:3: mode: is not a text"),
            ("---\nmode: nftables\n", "/etc/config.conf:4: there is more than one document"),
            ("conntrack: [1\n", "/etc/config.conf:"),
            ("\"two\\nlines\": 1\n", "/etc/config.conf:3: two lines: is no field of this file"),
        ] {
            let error = error(&format!("{HEAD}{body}"));
            assert!(error.starts_with(expected), "{body}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn another_kind_or_version_is_refused() {
        assert_eq!(
            error(""),
            "/etc/config.conf: apiVersion: is missing, must be kubeproxy.config.k8s.io/v1alpha1"
        );
        assert_eq!(
            error("apiVersion: v1\nkind: ConfigMap\n"),
            "/etc/config.conf: apiVersion: \"v1\" is not supported, only kubeproxy.config.k8s.io/v1alpha1"
        );
        assert_eq!(
            error("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Proxy\n"),
            "/etc/config.conf: kind: \"Proxy\" is not supported, only KubeProxyConfiguration"
        );
    }

    #[test]
    fn json_and_null_are_fine() {
        let text = r#"{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration",
            "conntrack":null,"clusterCIDR":null,"nftables":{"masqueradeBit":3}}"#;
        let configuration = parse(Path::new("x"), text.as_bytes()).unwrap();
        assert_eq!(configuration.nftables.masquerade_bit, Some(3));
    }

    const KUBEADM: &str = include_str!("../../tests/configuration/data/kubeadm.conf");

    proptest::proptest! {
        #[test]
        fn a_damaged_file_is_refused_in_one_line_or_read(
            at in 0..KUBEADM.len(),
            length in 0..40_usize,
            rubbish in "[ -~\n\t\u{e9}]{0,8}",
        ) {
            let (before, after) = KUBEADM.split_at(at);
            let text = format!("{before}{rubbish}{}", after.get(length..).unwrap_or_default());
            if let Err(error) = parse(Path::new("x"), text.as_bytes()) {
                proptest::prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }
}
