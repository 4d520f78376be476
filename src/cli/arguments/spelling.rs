//! Spellings of flags that kube-proxy accepts and clap does not.

use std::ffi::OsString;

use crate::config::boolean;

/// Rewrites a command line into the form that clap accepts: `--cluster_cidr` becomes `--cluster-cidr`
/// (`WordSepNormalizeFunc` of `k8s.io/component-base`), `--version` may have a value, and `-v` without a value means 1.
pub fn normalize(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut are_flags = true;
    let rewrite = |argument: OsString| {
        are_flags &= argument != "--";
        match argument.to_str().and_then(|text| text.strip_prefix("--")) {
            Some(flag) if are_flags => spell(flag),
            _ => Some(argument),
        }
    };
    let mut read: Vec<OsString> = arguments.into_iter().filter_map(rewrite).collect();
    let flags = read.iter().position(|argument| argument == "--").unwrap_or(read.len());
    for at in 0..flags {
        let is_level = |next: &OsString| next.to_str().is_some_and(|next| next.parse::<i64>().is_ok());
        if (read[at] == "-v" || read[at] == "--v") && !read.get(at + 1).is_some_and(is_level) {
            read[at] = "-v1".into();
        }
    }
    read
}

/// Rewrites a flag, given without its dashes. Returns `None` if the flag has no effect, as `--version=false`.
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

    #[test]
    fn verbosity_may_be_asked_for_without_a_level() {
        let read = |arguments: &[&str]| normalize(arguments.iter().map(OsString::from));
        assert_eq!(read(&["trace", "-v", "outside", ":80"]), ["trace", "-v1", "outside", ":80"]);
        assert_eq!(read(&["trace", "outside", ":80", "--v"]), ["trace", "outside", ":80", "-v1"]);
        assert_eq!(read(&["check", "-v", "4", "-f", "x"]), ["check", "-v", "4", "-f", "x"]);
        assert_eq!(read(&["run", "-v", "-1"]), ["run", "-v", "-1"], "which is refused");
        assert_eq!(read(&["check", "--", "-v"]), ["check", "--", "-v"]);
    }
}
