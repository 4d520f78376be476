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
    let text = without_empty_end(text);
    let mut field = String::new();
    let mut options = Options::default();
    options.underscored_numbers_as_strings = true;
    options.leading_zero_numbers_as_strings = true;
    let mut budget = Budget::default();
    budget.max_depth = 16;
    options.budget = Some(budget);
    options.with_snippet = false;
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options.clone(), |deserializer| {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
        let read = <KubeProxyConfiguration as serde::Deserialize>::deserialize(tracked);
        if read.is_err() {
            field = track.path().to_string();
        }
        read
    });
    read.map_err(|error| {
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
    let configuration =
        strictly(text, options).map_err(|(field, message)| content(None, &field, &message))?;
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

/// Reads the same again with the types that the text itself shows. kube-proxy's decoder takes neither a quoted number
/// for a number nor a number for a text, and what it refuses must not wait until somebody goes back to it. The field
/// and what is wrong with it, if something is.
fn strictly(text: &str, options: Options) -> Result<KubeProxyConfiguration, (String, String)> {
    let value: Option<serde_json::Value> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| (String::new(), message(&error.to_string()).1))?;
    // An empty file has no fields.
    let value = value.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = one_line(&error.path().to_string());
        (field, message(&error.into_inner().to_string()).1)
    })
}

/// Without a last `---` that nothing but comments follow: that is no further document.
fn without_empty_end(text: &str) -> &str {
    let is_empty = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    match text.rfind("\n---") {
        Some(at) => {
            let (before, end) = text.split_at(at + 1);
            let mut lines = end.lines();
            let is_mark = lines.next().is_some_and(|line| is_empty(line.trim_start_matches("---")));
            if is_mark && lines.all(is_empty) { without_empty_end(before) } else { text }
        }
        None => text,
    }
}

/// What a parser says in its words, by what it says first, and what an operator is told.
const WORDS: [(&str, &str); 13] = [
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
    ("invalid value: integer", "is not a whole number, or too large"),
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
    // serde_json says first what there is, and last what there should be.
    let expected = message.starts_with("invalid type: ").then(|| message.rsplit_once(", expected "));
    let message = match expected.flatten() {
        Some((_, "i32" | "i64" | "u32")) => "invalid i32",
        Some((_, "f32" | "f64")) => "invalid floating point",
        Some((_, "a boolean")) => "invalid boolean",
        Some((_, "a string" | "path string")) => "expected string scalar",
        _ => message,
    };
    let known = WORDS.iter().find(|(start, _)| message.starts_with(start));
    (None, known.map_or(message, |(_, words)| words).to_owned())
}

/// In one line, and without what a terminal would take for a command.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
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
            ("oomScoreAdj: \"5\"\n", "/etc/config.conf: oomScoreAdj: is not a whole number, or too large"),
            (
                "nftables: {masqueradeBit: 1_0}\n",
                "/etc/config.conf: nftables.masqueradeBit: is not a whole number",
            ),
            (
                "nftables: {masqueradeBit: 010}\n",
                "/etc/config.conf:3: nftables.masqueradeBit: is not a whole number",
            ),
            ("clientConnection: {qps: \"5\"}\n", "/etc/config.conf: clientConnection.qps: is not a number"),
            ("clientConnection: {qps: .nan}\n", "/etc/config.conf:"),
            (
                "clientConnection: {kubeconfig: 5}\n",
                "/etc/config.conf: clientConnection.kubeconfig: is not a text",
            ),
            (
                "bindAddressHardFail: \"true\"\n",
                "/etc/config.conf: bindAddressHardFail: is neither true nor false",
            ),
            (
                "featureGates: {Foo: \"true\"}\n",
                "/etc/config.conf: featureGates.Foo: is neither true nor false",
            ),
            ("hostnameOverride: 5\n", "/etc/config.conf: hostnameOverride: is not a text"),
            ("hostnameOverride: true\n", "/etc/config.conf: hostnameOverride: is not a text"),
            ("\"x\\e[31my\": 1\n", "/etc/config.conf:3: x\\u{1b}[31my: is no field of this file"),
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
    fn an_end_without_a_document_is_none() {
        for end in ["---\n", "---", "--- # end\n\n# that is all\n---\n"] {
            let configuration =
                parse(Path::new("x"), format!("{HEAD}oomScoreAdj: 5\n{end}").as_bytes()).unwrap();
            assert_eq!(configuration.oom_score_adj, Some(5), "{end:?}");
        }
        assert!(error(&format!("{HEAD}---\n--- x\n")).contains("more than one document"));
    }

    #[test]
    fn json_and_null_are_fine() {
        let text = r#"{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration",
            "conntrack":null,"clusterCIDR":null,"nftables":{"masqueradeBit":3}}"#;
        let configuration = parse(Path::new("x"), text.as_bytes()).unwrap();
        assert_eq!(configuration.nftables.masquerade_bit, Some(3));
    }

    const KUBEADM: &str = include_str!("../../integration/tests/configuration/data/kubeadm.conf");

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
