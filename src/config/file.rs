//! Reading a configuration file.

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path};

use serde_json::Value as Json;

use super::{
    Error, Options, Place,
    document::{self, Mapping, Value},
    options::{Effect, Row, rows},
    values::{API_VERSION, KIND},
};

/// The longest configuration file, in bytes. A device or a wrong file may be longer.
const LENGTH: u64 = 1 << 20;

/// Keys of a `ConfigMap` that hold the configuration: the key of kubeadm, and the key of EKS.
const CONFIG_MAP_KEYS: [&str; 2] = ["config.conf", "config"];

const NOT_A_MAPPING: &str = "is not a mapping of fields to values";

/// Reads a configuration file, YAML or JSON: a `KubeProxyConfiguration`, alone or among other documents, or in a
/// `ConfigMap`. Also returns warnings about unknown or repeated fields, which kube-proxy ignores.
pub(super) fn read(path: &Path) -> Result<(Options, Vec<Error>), Error> {
    let refuse = |problem: &str| Error::new(place(path, None, ""), problem);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LENGTH + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(&error.to_string()))?;
    if bytes.len() as u64 > LENGTH {
        return Err(refuse("is longer than a configuration can be (1 MiB)"));
    }
    parse(path, &bytes)
}

/// Reads the content of a configuration file; the path is for messages.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Options, Vec<Error>), Error> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| Error::new(place(path, None, ""), "is not UTF-8 text"))?;
    let (fields, lines_before) = configuration(path, text, 0)?;
    let mut reader = Reader { path, lines_before, options: Options::default(), warnings: Vec::new() };
    reader.mapping("", &fields)?;
    reader.warnings.sort_by_key(|warning| warning.place.line());
    Ok((reader.options, reader.warnings))
}

fn place(path: &Path, line: Option<u64>, field: &str) -> Place {
    Place::File { path: path.to_owned(), line, field: field.to_owned() }
}

/// Finds the configuration among the documents of a text that begins after this many lines of the file. Returns its
/// fields and the number of lines before its text.
fn configuration(path: &Path, text: &str, lines_before: u64) -> Result<(Mapping, u64), Error> {
    let refuse = |line: Option<u64>, field: &str, problem: &str| {
        Error::new(place(path, line.map(|line| line + lines_before), field), problem)
    };
    let missing = |field, value| refuse(None, field, &format!("is missing, must be {value}"));
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = document::read(text).map_err(|(line, problem)| refuse(line, "", &problem))?;
    let (mut found, mut others) = (None, Vec::new());
    for document in &documents {
        let line = Some(document.line);
        let Value::Mapping(fields) = &document.value else {
            return Err(refuse(line, "", NOT_A_MAPPING));
        };
        match document.text("kind") {
            Some(KIND) if found.is_some() => {
                return Err(refuse(line, "", "there is more than one KubeProxyConfiguration"));
            }
            Some(KIND) => found = Some((document, fields)),
            Some("ConfigMap") if lines_before == 0 => {
                let data = document.get("data");
                let value = data.and_then(|data| CONFIG_MAP_KEYS.iter().find_map(|key| data.entry(key)));
                let Some((key, text)) = value.and_then(|(key, node)| Some((key, node.as_text()?))) else {
                    return Err(refuse(
                        line,
                        "",
                        "the ConfigMap has no key config.conf or config with a KubeProxyConfiguration",
                    ));
                };
                // The text of a block begins in the line after its key.
                return configuration(path, text, key.referenced.line());
            }
            Some(kind) => others.push(format!("{kind:?}")),
            None if document.get("apiVersion").is_none() => return Err(missing("apiVersion", API_VERSION)),
            None => return Err(missing("kind", KIND)),
        }
    }
    let unsupported = |field, found: &str, supported| {
        refuse(None, field, &format!("{found} is not supported, only {supported}"))
    };
    let (document, fields) = match found {
        Some(found) => found,
        None if others.is_empty() => return Err(missing("apiVersion", API_VERSION)),
        None => return Err(unsupported("kind", &others.join(", "), KIND)),
    };
    match document.text("apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => return Err(unsupported("apiVersion", &format!("{other:?}"), API_VERSION)),
        None => return Err(missing("apiVersion", API_VERSION)),
    }
    Ok((fields.clone(), lines_before))
}

struct Reader<'a> {
    path: &'a Path,
    lines_before: u64,
    options: Options,
    warnings: Vec<Error>,
}

impl Reader<'_> {
    /// Reads the fields of a mapping, which is the file itself or a field that has fields.
    fn mapping(&mut self, prefix: &str, fields: &Mapping) -> Result<(), Error> {
        let keys = fields.iter().enumerate().map(|(at, (name, _))| (&*name.value, at));
        let last: BTreeMap<&str, usize> = keys.collect();
        for (at, (name, node)) in fields.iter().enumerate() {
            let field =
                if prefix.is_empty() { name.value.clone() } else { format!("{prefix}.{}", name.value) };
            let (path, lines_before) = (self.path, self.lines_before);
            let place =
                |line, entry: &str| place(path, Some(line + lines_before), &format!("{field}{entry}"));
            let here = || place(name.referenced.line(), "");
            if last.get(&*name.value) != Some(&at) {
                self.warnings.push(Error::new(here(), "occurs again; the last value counts"));
                continue;
            }
            if matches!(node.value, Value::Scalar(Json::Null)) && is_known(&field) {
                // Null is the same as no value, as for Go.
            } else if let Some(row) = rows().find(|row| row.field == field) {
                let value = row
                    .kind
                    .read(node)
                    .map_err(|problem| Error::new(place(problem.line, &problem.entry), problem.message))?;
                self.options.set(row, Some(value));
            } else if is_known(&field) {
                let Value::Mapping(fields) = &node.value else {
                    return Err(Error::new(here(), NOT_A_MAPPING));
                };
                self.mapping(&field, fields)?;
            } else if !["apiVersion", "kind"].contains(&&*field) {
                let guess =
                    nearest(&field).map(|field| format!("; did you mean {field}?")).unwrap_or_default();
                self.warnings.push(Error::new(here(), format!("unknown field{guess}")));
            }
        }
        Ok(())
    }
}

/// Whether this is a field, or a section of fields.
fn is_known(field: &str) -> bool {
    rows()
        .any(|row| row.field.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Returns the known field that is most similar to an unknown one: a field with a similar spelling, or a field of the
/// same name in another section, preferably one that has an effect.
fn nearest(field: &str) -> Option<&'static str> {
    let last = |field: &str| field.rsplit('.').next().unwrap_or_default().to_lowercase();
    let rank = |row: &Row| {
        let distance = strsim::osa_distance(&row.field.to_lowercase(), &field.to_lowercase());
        let has_effect = matches!(row.effect, Effect::Used | Effect::Overrides);
        if distance == 0 {
            Some((0, false, 0))
        } else if last(row.field) == last(field) {
            Some((1, !has_effect, distance))
        } else {
            (distance <= (field.len() / 4).max(2)).then_some((2, false, distance))
        }
    };
    let ranked = rows().filter(|row| !row.field.is_empty()).filter_map(|row| Some((rank(row)?, row.field)));
    ranked.min().map(|(_, field)| field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::{MASQUERADE_BIT, OOM_SCORE_ADJ};

    const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

    fn error(text: &str) -> String {
        parse(Path::new("/etc/config.conf"), text.as_bytes()).unwrap_err().to_string()
    }

    fn warnings(text: &str) -> Vec<String> {
        let (_, warnings) = parse(Path::new("/etc/config.conf"), text.as_bytes()).unwrap();
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_field() {
        let (count, text) = ("is not a whole number from 0 to 2147483647", "is not text");
        for (body, expected) in [
            ("conntrack:\n  min: many\n", &*format!("4: conntrack.min: \"many\" {count}")),
            ("nftables:\n  syncPeriod: 30\n", "4: nftables.syncPeriod: 30 is not a duration"),
            (
                "oomScoreAdj: 99999999999\n",
                "3: oomScoreAdj: 99999999999 is not a whole number from -1000 to 1000",
            ),
            ("conntrack:\n  min: 0.5\n", &format!("4: conntrack.min: 0.5 {count}")),
            ("logging: {verbosity: -1}\n", "3: logging.verbosity: -1 is not a whole number from 0"),
            ("clientConnection: {qps: fast}\n", "3: clientConnection.qps: \"fast\" is not a number"),
            (
                "bindAddressHardFail: perhaps\n",
                "3: bindAddressHardFail: \"perhaps\" is neither true nor false",
            ),
            ("nodePortAddresses: primary\n", "3: nodePortAddresses: \"primary\" is not a list"),
            ("nodePortAddresses:\n- null\n", &format!("4: nodePortAddresses[0]: null {text}")),
            ("logging: {flushFrequency: true}\n", "3: logging.flushFrequency: true is not a duration"),
            (
                "logging: {vmodule: [{verbosity: x}]}\n",
                "3: logging.vmodule[0]: is not an entry such as {filePattern",
            ),
            ("conntrack: 5\n", "3: conntrack: is not a mapping of fields to values"),
            ("mode: [nftables]\n", &format!("3: mode: {text}")),
            ("---\nmode: nftables\n", " apiVersion: is missing"),
            ("oomScoreAdj: \"5\"\n", "3: oomScoreAdj: \"5\" is not a whole number"),
            (
                "nftables: {masqueradeBit: 1_0}\n",
                "3: nftables.masqueradeBit: \"1_0\" is not a whole number from 0 to 31",
            ),
            ("nftables: {masqueradeBit: 010}\n", "3: nftables.masqueradeBit: \"010\" is not a whole number"),
            ("clientConnection: {qps: \"5\"}\n", "3: clientConnection.qps: \"5\" is not a number"),
            ("clientConnection: {qps: .nan}\n", "3: "),
            ("clientConnection: {kubeconfig: 5}\n", &format!("3: clientConnection.kubeconfig: 5 {text}")),
            ("bindAddressHardFail: \"true\"\n", "3: bindAddressHardFail: \"true\" is neither true nor false"),
            ("featureGates: {Foo: \"true\"}\n", "3: featureGates.Foo: \"true\" is neither true nor false"),
            ("hostnameOverride: 5\n", &format!("3: hostnameOverride: 5 {text}")),
            ("hostnameOverride: true\n", &format!("3: hostnameOverride: true {text}")),
            ("conntrack: [1\n", "3: is not valid YAML: "),
            ("a: &a [*a]\n", "3: is not valid YAML: "),
        ] {
            let error = error(&format!("{HEAD}{body}"));
            assert!(error.starts_with(&format!("/etc/config.conf:{expected}")), "{body}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn unknown_misplaced_and_doubled_fields_are_warnings_with_a_guess() {
        for (body, expected) in [
            ("clusterCidr: 10.0.0.0/8\n", "3: clusterCidr: unknown field; did you mean clusterCIDR?"),
            (
                "conntrack:\n  minimum: 5\n",
                "4: conntrack.minimum: unknown field; did you mean conntrack.min?",
            ),
            ("ipvs:\nstrictARP: true\n", "4: strictARP: unknown field; did you mean ipvs.strictARP?"),
            (
                "ipvs:\n  masqueradeAll: true\n",
                "4: ipvs.masqueradeAll: unknown field; did you mean nftables.masqueradeAll?",
            ),
            ("somethingOfLaterReleases: {a: 1}\n", "3: somethingOfLaterReleases: unknown field"),
            ("mode: nftables\nmode: nftables\n", "3: mode: occurs again; the last value counts"),
            ("conntrack:\n  min: 1\n  min: 2\n", "4: conntrack.min: occurs again; the last value counts"),
            ("\"x\\e[31my\": 1\n", "3: x\\u{1b}[31my: unknown field"),
            ("\"two\\nlines\": 1\n", "3: two\\nlines: unknown field"),
        ] {
            let warnings = warnings(&format!("{HEAD}{body}"));
            let [warning] = &*warnings else { panic!("{body}: {warnings:?}") };
            assert!(warning.starts_with(&format!("/etc/config.conf:{expected}")), "{body}: {warning}");
            assert!(!warning.contains('\n'), "{warning}");
        }
        let (options, _) =
            parse(Path::new("x"), format!("{HEAD}oomScoreAdj: 1\noomScoreAdj: 2\n").as_bytes()).unwrap();
        assert_eq!(options.number::<i64>(&OOM_SCORE_ADJ), 2);
    }

    #[test]
    fn another_kind_or_version_is_refused_by_its_name() {
        for (text, expected) in [
            ("", "apiVersion: is missing, must be kubeproxy.config.k8s.io/v1alpha1"),
            ("# nothing\n---\n", "apiVersion: is missing, must be kubeproxy.config.k8s.io/v1alpha1"),
            ("apiVersion: v1\nkind: ConfigMap\n", "the ConfigMap has no key config.conf or config"),
            ("apiVersion: v1\nkind: Pod\n", "kind: \"Pod\" is not supported, only KubeProxyConfiguration"),
            (
                "kind: InitConfiguration\n---\nkind: ClusterConfiguration\n",
                "kind: \"InitConfiguration\", \"ClusterConfiguration\" is not supported, only KubeProxyConfiguration",
            ),
            (
                "apiVersion: kubeproxy.config.k8s.io/v1\nkind: KubeProxyConfiguration\n",
                "apiVersion: \"kubeproxy.config.k8s.io/v1\" is not supported, only kubeproxy.config.k8s.io/v1alpha1",
            ),
            (&format!("{HEAD}---\n{HEAD}"), "there is more than one KubeProxyConfiguration"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_configuration_is_found_among_other_documents_and_in_a_config_map() {
        let inner = format!("{HEAD}oomScoreAdj: 5\nstrictARP: true\n");
        let block = inner.replace('\n', "\n    ");
        for (text, line) in [
            (format!("{inner}---\n"), 4),
            (format!("{inner}--- # end\n\n# that is all\n---\n"), 4),
            (format!("kind: InitConfiguration\na: {{b: 1}}\n---\n{inner}"), 7),
            (format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  config.conf: |\n    {block}\n"), 8),
            (format!("apiVersion: v1\nkind: ConfigMap\ndata:\n  config: |-\n    {block}\n"), 8),
        ] {
            let (options, warnings) = parse(Path::new("x"), text.as_bytes()).unwrap();
            assert_eq!(options.number::<i64>(&OOM_SCORE_ADJ), 5, "{text}");
            assert!(
                warnings[0].to_string().starts_with(&format!("x:{line}: strictARP: ")),
                "{text}: {warnings:?}"
            );
        }
    }

    #[test]
    fn json_and_null_are_fine() {
        let text = r#"{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration",
            "conntrack":null,"clusterCIDR":null,"nftables":{"masqueradeBit":3}}"#;
        let (options, warnings) = parse(Path::new("x"), text.as_bytes()).unwrap();
        assert_eq!(options, Options::of(&[(&MASQUERADE_BIT, "3")]));
        assert!(warnings.is_empty());
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
            match parse(Path::new("x"), text.as_bytes()) {
                Ok((_, warnings)) => {
                    for warning in warnings {
                        proptest::prop_assert_eq!(warning.to_string().lines().count(), 1);
                    }
                }
                Err(error) => proptest::prop_assert_eq!(error.to_string().lines().count(), 1),
            }
        }
    }
}
