//! The command line itself: mistakes, `version`, manual pages, completions.

use serde_json::Value;

use crate::process::{enter_namespace, portolan};

#[test]
fn a_mistake_gets_the_nearest_name_and_the_help_that_lists_all() {
    for (arguments, code, expected) in [
        (&["rendr"][..], 1, "unrecognized subcommand 'rendr'; did you mean render? See portolan --help"),
        (
            &["render", "--cluster-cird", "10.0.0.0/8", "-f", "x"],
            1,
            "unexpected argument '--cluster-cird' found; did you mean --cluster-cidr? See portolan render --help",
        ),
        (&["run", "--proxymode=nftables"], 1, "did you mean --proxy-mode? See portolan run --help"),
        (&["check", "-o", "jsom", "-f", "x"], 2, "did you mean json?"),
        (&["trace", "--zzz"], 2, "; see portolan trace --help"),
        (&["man", "rendr"], 1, "there is no command \"rendr\""),
    ] {
        let outcome = portolan(arguments);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains(expected), "{outcome:?}");
    }
}

#[test]
fn the_version_is_told_with_what_it_runs_on() {
    enter_namespace();
    let text = portolan(&["version"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    assert!(text.stdout.starts_with(concat!("portolan ", env!("CARGO_PKG_VERSION"), "\n")), "{text:?}");
    let json = portolan(&["version", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(json.as_object().unwrap().contains_key("commit"));
    let features = json["kernel"]["features"].as_array().expect("a kernel that is asked");
    assert!(features.contains(&"nf_tables".into()), "{json}");
    assert!(json["kernel"]["release"].as_str().is_some_and(|release| release.contains('.')), "{json}");
    assert!(json["libraries"].is_array());
}

#[test]
fn every_command_has_a_manual_page_with_its_sections_in_order() {
    let help = portolan(&["help"]).stdout;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    let mut paths: Vec<Vec<&str>> = commands.map(|command| vec![command]).collect();
    assert!(paths.len() > 8, "{paths:?}");
    paths.extend([vec![], vec!["describe", "service"]]);
    for path in paths {
        let page = portolan(&[&["man"], &*path].concat());
        assert_eq!((page.code, &*page.stderr), (Some(0), ""), "{path:?}");
        let name = [&["portolan"], &*path].concat().join("-").to_uppercase();
        assert!(page.stdout.contains(&format!(".TH {name} 1")), "{path:?}: {}", page.stdout);
        let known = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "\"EXIT STATUS\"", "EXAMPLES"];
        let sections: Vec<&str> = page.stdout.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let places: Vec<usize> =
            sections.iter().filter_map(|section| known.iter().position(|name| name == section)).collect();
        assert!(places.is_sorted() && places.len() >= 4, "{path:?}: {sections:?}");
        assert!(!page.stdout.contains("EXTRA"), "{path:?}");
    }
    let page = portolan(&["man", "render"]).stdout;
    let synopsis = page.split(".SH SYNOPSIS").nth(1).and_then(|rest| rest.split(".SH").next()).unwrap();
    assert!(synopsis.contains("[OPTIONS]") && synopsis.contains("PATH"), "{synopsis}");
}

#[test]
fn every_flag_says_what_it_means() {
    for command in ["render", "diff", "run", "cleanup"] {
        let page = portolan(&["man", command]).stdout;
        let lines: Vec<&str> = page.lines().collect();
        for pair in lines.windows(3).filter(|lines| lines[0] == ".TP") {
            assert!(pair[2].split_whitespace().count() > 1, "{command}: {pair:?}");
        }
    }
    let help = portolan(&["run", "--help"]).stdout;
    assert!(help.contains("no effect here: there is no ipvs mode"), "{help}");
}

/// What bash offers after these words, of which the last is not complete.
fn offered(words: &[&str]) -> Vec<String> {
    let binary = portolan_integration::binary().unwrap();
    let path = std::env::join_paths(
        std::iter::once(binary.parent().unwrap().to_owned())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let script = "source <(portolan completions bash)
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_portolan portolan \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output = std::process::Command::new("bash")
        .env("PATH", path.unwrap())
        .args(["-c", script, "bash", "portolan"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_real_bash_completes_commands_flags_and_the_words_of_closed_lists() {
    for (words, expected) in [
        (&["rend"][..], &["render"][..]),
        (&["render", "--cluster-c"], &["--cluster-cidr"]),
        (&["check", "-o", ""], &["text", "json", "sarif", "github"]),
        (&["draw", "--output", "s"], &["svg"]),
        (&["run", "--detect-local-mode", "C"], &["ClusterCIDR"]),
        (&["man", "desc"], &["describe"]),
        (&["trace", "n"], &["node"]),
        (&["describe", "s"], &["service"]),
    ] {
        assert_eq!(offered(words), expected, "{words:?}");
    }
    // Without an agent there are no names, and no message either.
    assert_eq!(offered(&["describe", "service", "--socket", "/nonexistent", "x"]), [""]);
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = portolan(&["completions", shell]);
        assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{shell}");
        assert!(script.stdout.contains("PORTOLAN_COMPLETE"), "{shell}: {}", script.stdout);
    }
}
