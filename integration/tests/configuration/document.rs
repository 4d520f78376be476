//! `docs/configuration.md`, which is generated.

use std::{fmt::Write as _, fs, path::Path};

use portolan::{
    cli::arguments::definition,
    config::{Effect, Row, Scope, rows},
};

/// If this variable is set, the test writes the file.
const UPDATE: &str = "PORTOLAN_UPDATE_DOCS";

const INTRODUCTION: &str = "# Configuration

<!-- Generated from src/config/options.rs by `PORTOLAN_UPDATE_DOCS=1 cargo test -p portolan-integration --test configuration \
document`. -->

`portolan run` takes kube-proxy's flags and its configuration file, a `KubeProxyConfiguration` \
(`kubeproxy.config.k8s.io/v1alpha1`) in YAML or JSON. `--config` takes a file with this document alone, with other \
documents, as kubeadm has it, or in a `ConfigMap` (`config.conf` or `config`).

- With `--config`, the file decides. Of the flags, only those marked **Overrides** and those without a field have an \
effect; one warning names the others.
- An unknown, misplaced or repeated field gives a warning with its line and the nearest name, as by kube-proxy; it is \
ignored, except that the last of repeated fields counts. `--strict-config` makes it an error.
- `--show-config` prints the configuration that would be in effect, and the warnings that `run` would log.
- A field that is absent, null or empty has its default.
- If the file changes, the agent logs which fields changed and exits, so that its supervisor restarts it.
- Names of flags may have underscores in place of dashes. A boolean flag without a value means true; another value \
follows `=`. A list is separated by commas, and its flag may be repeated. Durations have Go's format, such as `30s` or \
`1h30m`.
";

/// Escapes text for a cell of a table.
fn cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn flags(row: &Row) -> String {
    let flags = row.flags.split_whitespace().map(code).collect::<Vec<_>>().join(", ");
    if flags.is_empty() { flags } else { format!("{flags} {}", cell(row.kind.placeholder())) }
}

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut heading = "";
    for row in rows().filter(|row| !row.is_without_effect()) {
        if row.heading != heading || text == INTRODUCTION {
            heading = row.heading;
            let title = if heading.is_empty() { "Mode" } else { heading };
            let commands = if row.scope == Scope::Rules {
                " (every command that compiles rules has these flags)"
            } else {
                ""
            };
            // Writing to a String does not fail.
            let _ = write!(
                text,
                "\n## {title}{commands}\n\n| Flag | Field | Default | Meaning |\n|---|---|---|---|\n"
            );
        }
        let overrides = if matches!(row.effect, Effect::Overrides) { " **Overrides** the file." } else { "" };
        let (flags, field, default) = (flags(row), code(row.field), code(row.default));
        let _ = writeln!(text, "| {flags} | {field} | {default} | {}.{overrides} |", cell(row.help));
    }
    text.push_str(
        "\n## Without effect\n\nThese are accepted because kube-proxy has them. A warning names those that are set \
         to a value other than zero or kube-proxy's default.\n\n\
         | Flag | Field | For kube-proxy | Why it has no effect |\n|---|---|---|---|\n",
    );
    for row in rows() {
        if let Effect::None(why, _) = row.effect {
            let (flags, field) = (flags(row), code(row.field));
            let _ = writeln!(text, "| {flags} | {field} | {} | {} |", cell(row.help), cell(why));
        }
    }
    text.push_str(
        "\n## Arguments of `portolan run`\n\nThese determine what the command does, and are not part of the \
         configuration.\n\n| Flag | Meaning |\n|---|---|\n",
    );
    let mut command = definition();
    command.build();
    for argument in command.find_subcommand("run").unwrap().get_arguments() {
        let Some(long) = argument.get_long() else { continue };
        let flag = format!("--{long}");
        if rows().any(|row| row.flag() == Some(&*flag)) {
            continue;
        }
        let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let values = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = values.map(|names| format!(" {}", names.join(" "))).unwrap_or_default();
        let help = argument.get_help().unwrap().to_string();
        let _ = writeln!(text, "| {short}`{flag}`{value} | {} |", cell(&help));
    }
    text
}

#[test]
fn the_document_is_what_the_options_give() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let expected = document();
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(
        found == expected,
        "docs/configuration.md is stale: run `{UPDATE}=1 cargo test -p portolan-integration --test configuration document`"
    );
}
