//! Configuration files of kube-proxy as users have them: Portolan starts with the values that kube-proxy would use, and
//! `--strict-config` refuses files with a mistake.

use super::{case, command};

/// Runs `run --show-config` with a case; returns the exit status, the shown configuration, and the warnings.
fn shown(name: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = command(&["run", "--show-config", "--config"]).arg(case(name)).args(more).output().unwrap();
    let [shown, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), shown, said)
}

#[track_caller]
fn is_accepted(name: &str, more: &[&str], values: &[&str]) {
    let (code, shown, said) = shown(name, more);
    assert_eq!(code, Some(0), "{name}: {said}");
    for value in values {
        assert!(shown.contains(&format!("{value}\n")), "{name}: {value}: {shown}");
    }
}

/// kube-proxy also warns and continues.
#[test]
fn unknown_misplaced_and_doubled_fields_are_warned_of_and_refused_on_request() {
    for (name, warning, value) in [
        (
            "config-unknown-nested.conf",
            ":5: ipvs.masqueradeAll: unknown field; did you mean nftables.masqueradeAll?",
            "  scheduler: rr",
        ),
        (
            "config-misindented.conf",
            ":5: strictARP: unknown field; did you mean ipvs.strictARP?",
            "mode: nftables",
        ),
        ("config-duplicate.conf", ":4: clusterCIDR: occurs again", "clusterCIDR: 10.244.0.0/16"),
    ] {
        is_accepted(name, &[], &[value]);
        let (_, _, said) = shown(name, &[]);
        assert_eq!(said.matches(warning).count(), 1, "{name}: {said}");
        let (code, shown, said) = shown(name, &["--strict-config"]);
        assert_eq!((code, &*shown, said.lines().count()), (Some(1), "", 1), "{name}: {said}");
        assert!(said.contains(warning), "{name}: {said}");
    }
}

/// With an empty mode, the section of kube-proxy's default mode takes effect.
#[test]
fn an_empty_mode_keeps_what_the_section_iptables_says() {
    let values = ["  masqueradeAll: true", "  masqueradeBit: 13", "  syncPeriod: 1m"];
    is_accepted("config-iptables-section.conf", &["--strict-config"], &values);
}

/// One more flag in the command is enough.
#[test]
fn the_mode_of_the_file_is_overridden_by_the_flag() {
    let (code, _, said) = shown("config-mode-iptables.conf", &[]);
    assert!(code == Some(1) && said.contains("--proxy-mode=nftables"), "{said}");
    is_accepted("config-mode-iptables.conf", &["--proxy-mode", "nftables"], &["mode: nftables"]);
}

/// In a file of several documents, and in a `ConfigMap`.
#[test]
fn the_configuration_is_found_in_what_people_have() {
    is_accepted("config-kubeadm-documents.yaml", &["--strict-config"], &["mode: nftables"]);
    is_accepted("config-configmap.yaml", &["--strict-config"], &["mode: nftables"]);
}
