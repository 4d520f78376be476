//! The command line itself: mistakes, `version`, manual pages, completions.

use serde_json::Value;

use crate::process::{enter_namespace, portolan};

/// Manifests whose Services are completed on the command line.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cases/why-no-answer.yaml");

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
fn the_version_is_shown_with_kernel_and_libraries() {
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

/// The environment's `PATH`, with the directory of the binary in front.
fn path() -> std::ffi::OsString {
    let binary = portolan_integration::binary().unwrap();
    let directory = binary.parent().unwrap().to_owned();
    let rest = std::env::var_os("PATH").unwrap();
    std::env::join_paths(std::iter::once(directory).chain(std::env::split_paths(&rest))).unwrap()
}

/// Returns what a shell script prints with these arguments.
fn script(shell: &[&str], arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(shell[0]);
    let output = command.env("PATH", path()).args(&shell[1..]).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("this test needs {}: {error}", shell[0]));
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns bash's completions of these words, of which the last is incomplete.
fn offered(words: &[&str]) -> Vec<String> {
    let text = "source <(portolan completions bash)
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_portolan portolan \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    script(&["bash", "-c", text, "bash", "portolan"], words).lines().map(str::to_owned).collect()
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
    // Names of Services come from the manifests on the command line.
    for words in [
        &["describe", "service", "-f", SERVICES, "shop/n"][..],
        &["describe", "service", &format!("--filename={SERVICES}"), "shop/n"],
    ] {
        assert_eq!(offered(words), ["shop/named", "shop/notready"], "{words:?}");
    }
    assert_eq!(offered(&["trace", "-f", SERVICES, "outside", "svc/shop/p"]), ["svc/shop/pending-lb"]);
    assert_eq!(offered(&["draw", "-f", "/nonexistent", "x"]), [""]);
    // Without an agent there are neither names nor a message.
    assert_eq!(offered(&["describe", "service", "--socket", "/nonexistent", "x"]), [""]);
}

#[test]
fn a_real_fish_completes_them_too() {
    let text = "portolan completions fish | source; complete -C $argv[1]";
    let offered = |line: &str| -> Vec<String> {
        let lines = script(&["fish", "--no-config", "-c", text], &[line]);
        lines.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(offered("portolan rend"), ["render"]);
    assert_eq!(offered("portolan check -o s"), ["sarif"]);
    let names = offered(&format!("portolan describe service -f {SERVICES} shop/n"));
    assert_eq!(names, ["shop/named", "shop/notready"]);
}

/// Both with a sourced script and with a function on zsh's `fpath`, at the first TAB.
#[test]
fn a_real_zsh_completes_them_too() {
    // Types keys into a zsh on a pseudo-terminal: TAB, and Ctrl-T, which prints the line.
    let text = r#"
        zmodload zsh/zpty
        if [[ $1 == sourced ]]; then
            load="autoload -Uz compinit; compinit -D -u; source <(portolan completions zsh)"
        else
            portolan completions zsh > $3/_portolan
            load="fpath=($3 \$fpath); autoload -Uz compinit; compinit -D -u"
        fi
        zpty terminal zsh -f -i
        zpty -w terminal "PS1=; unset zle_bracketed_paste; show() { print -r -- '<'\$BUFFER'>'; }; zle -N show; bindkey '^T' show; $load; print rea''dy"
        zpty -r terminal seen '*ready*'
        zpty -n -w terminal "$2"$'\t\x14'
        zpty -r terminal seen '*<*>*' && print -r -- ${${seen##*<}%%>*}
        zpty -d terminal
    "#;
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    for how in ["sourced", "autoloaded"] {
        for (line, expected) in [
            ("portolan rend", "portolan render "),
            ("portolan check -o s", "portolan check -o sarif "),
            ("portolan draw -f SERVICES shop/no", "portolan draw -f SERVICES shop/notready "),
        ] {
            let [line, expected] = [line, expected].map(|text| text.replace("SERVICES", SERVICES));
            let seen = script(&["zsh", "-f", "-c", text, "zsh"], &[how, &line, directory]);
            assert_eq!(seen.trim_end_matches('\n'), expected, "{how}");
        }
    }
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = portolan(&["completions", shell]);
        assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{shell}");
        assert!(script.stdout.contains("PORTOLAN_COMPLETE"), "{shell}: {}", script.stdout);
    }
}
