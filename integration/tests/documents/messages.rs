//! The messages that the documents explain are those that Portolan prints, and every command is documented.

use std::{fs, process::Command};

use portolan_integration::binary;

use crate::{sources, top};

/// Returns the code below a directory in one line: literals may span several lines.
fn code(directory: &str) -> String {
    let text = |file| fs::read_to_string(file).unwrap();
    let of_file = |text: String| -> String {
        text.lines().map(|line| line.trim_start().trim_end_matches('\\')).collect()
    };
    sources(&top().join(directory)).into_iter().map(text).map(of_file).collect()
}

#[test]
fn messages_in_troubleshooting_are_printed() {
    let source = ["src", "rules/src"].map(code).concat().replace("\\\"", "\"");
    let text = fs::read_to_string(top().join("docs/troubleshooting.md")).unwrap();
    let rows: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() >= 8, "{rows:?}");
    for row in rows {
        let (message, _) = row.split_once('`').unwrap();
        // These characters enclose values.
        for part in message.split(['…', '"']).filter(|part| part.len() > 8) {
            let part = part.trim_end_matches(['(', '_']).trim();
            assert!(
                source.contains(part) || message.starts_with("curl"),
                "{message}: no source has {part:?}"
            );
        }
    }
}

/// klog's convention: messages are constant and values are in keys, so that lines can be counted and searched.
#[test]
fn messages_of_the_log_are_constant() {
    let source = code("src");
    let mut calls = 0;
    for level in ["error!(", "warn!(", "info!(", "debug!(", "trace!("] {
        for (at, _) in source.match_indices(level) {
            let is_other = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let call = source[at..].split(");").next().unwrap();
            let Some(message) = call.rsplit('"').nth(1).filter(|_| !is_other) else { continue };
            calls += 1;
            assert!(!message.contains('{'), "a value is in the message of {call})");
        }
    }
    assert!(calls > 60, "{calls}");
}

#[test]
fn every_command_is_documented() {
    let text = fs::read_to_string(top().join("docs/commands.md")).unwrap();
    let output = Command::new(binary().unwrap()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"render"), "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        assert!(
            text.contains(&format!("| `portolan {command}")),
            "docs/commands.md has no `portolan {command}`"
        );
    }
}
