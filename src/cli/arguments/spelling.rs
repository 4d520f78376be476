//! Spellings of flags that kube-proxy accepts and clap does not.

use std::ffi::OsString;

use crate::config::boolean;

/// Rewrites a command line as clap reads it: `--cluster_cidr` is `--cluster-cidr` (`WordSepNormalizeFunc` of
/// `k8s.io/component-base`), and `--version` may have a value.
pub fn normalize(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut are_flags = true;
    let rewrite = |argument: OsString| {
        are_flags &= argument != "--";
        match argument.to_str().and_then(|text| text.strip_prefix("--")) {
            Some(flag) if are_flags => spell(flag),
            _ => Some(argument),
        }
    };
    arguments.into_iter().filter_map(rewrite).collect()
}

/// Rewrites a flag, given without its dashes; `None` if it asks for nothing.
fn spell(flag: &str) -> Option<OsString> {
    let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
    let name = name.replace('_', "-");
    match (&*name, value) {
        ("version", Some("raw")) => Some("--version".into()),
        ("version", Some(value)) if matches!(boolean(value), Ok(true)) => Some("--version".into()),
        ("version", Some(value)) if matches!(boolean(value), Ok(false)) => None,
        (_, None) => Some(format!("--{name}").into()),
        (_, Some(value)) => Some(format!("--{name}={value}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_in_names_are_dashes_and_values_stay() {
        let given = ["run", "--cluster_cidr=a_b", "--node_name", "x_y", "-f", "a_b", "--a-b", "--", "--a_b"];
        let read = ["run", "--cluster-cidr=a_b", "--node-name", "x_y", "-f", "a_b", "--a-b", "--", "--a_b"];
        assert_eq!(normalize(given.map(OsString::from)), read);
    }

    #[test]
    fn the_version_may_be_asked_for_with_a_value() {
        let read = |argument: &str| normalize([argument.into()]);
        for value in ["true", "1", "raw"] {
            assert_eq!(read(&format!("--version={value}")), ["--version"]);
        }
        assert_eq!(read("--version=false"), Vec::<OsString>::new());
        assert_eq!(read("--version=loud"), ["--version=loud"], "which is refused");
    }
}
