//! Runs every transcript, command by command, and compares the output with the document.
//!
//! A block of the language `console` is a transcript: `$` precedes commands that need no privileges, `#` those that
//! need root. The commands of a document share a network namespace and a working directory, at first the top of the
//! repository. Commands for other machines are in blocks of the language `sh`, without a prompt and without output.

use std::path::{Path, PathBuf};

use portolan_integration::{Namespace, binary};

use crate::{blocks, documents, top};

/// A command, and the lines that it prints.
type Step<'a> = (&'a str, Vec<&'a str>);

/// Returns the command of a line with a prompt. A comment in a ruleset also begins with `#`.
fn command(line: &str) -> Option<&str> {
    let privileged = line.strip_prefix("# ");
    let privileged =
        privileged.filter(|rest| ["portolan ", "nft "].iter().any(|start| rest.starts_with(start)));
    line.strip_prefix("$ ").or(privileged)
}

/// Returns the commands of all transcripts of a document.
fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (_, lines) in blocks(text).into_iter().filter(|(language, _)| *language == "console") {
        assert!(command(lines[0]).is_some(), "{:?} is not a command", lines[0]);
        for line in lines {
            match (command(line), steps.last_mut()) {
                (Some(command), _) => steps.push((command, Vec::new())),
                (None, Some((_, output))) => output.push(line),
                (None, None) => unreachable!("the first line is a command"),
            }
        }
    }
    steps
}

/// Returns a log line without the parts that differ between runs: time, process, source line, the kernel and its
/// features.
fn lasting(line: &str) -> &str {
    let is_log = line.starts_with('I') && line.contains(".rs:");
    let Some((_, rest)) = line.split_once("] ").filter(|_| is_log) else { return line };
    rest.split_once(" kernel=").map_or(rest, |(start, _)| start)
}

/// Runs the transcripts of a document; returns the number of commands.
fn replay(path: &Path, text: &str) -> usize {
    let steps = steps(text);
    if steps.is_empty() {
        return 0;
    }
    let namespace = Namespace::new("transcripts").unwrap_or_else(|error| panic!("{error}"));
    let binary = binary().unwrap();
    let mut directory = top();
    for (command, shown) in &steps {
        if let Some(place) = command.strip_prefix("cd ") {
            assert!(shown.is_empty(), "{command} prints {shown:?}");
            directory = top().join(place);
            continue;
        }
        let script = format!(
            "PATH={}:$PATH; cd {} && {{ {command}; }} 2>&1",
            binary.parent().unwrap().display(),
            directory.display()
        );
        let output = namespace.output("sh", &["-c", &script], "").unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<&str> = printed.lines().map(lasting).collect();
        let shown: Vec<&str> = shown.iter().map(|line| lasting(line)).collect();
        assert_eq!(printed, shown, "{}: {command}", path.display());
    }
    steps.len()
}

#[test]
fn transcripts_show_what_is_printed() {
    let replayed = |(path, text): (PathBuf, String)| replay(&path, &text);
    let commands: usize = documents().into_iter().map(replayed).sum();
    assert!(commands >= 12, "{commands} commands");
}

#[test]
fn a_transcript_is_marked_as_one() {
    for (path, text) in documents() {
        for (language, lines) in blocks(&text).into_iter().filter(|(language, _)| *language != "console") {
            assert!(
                ["sh", "text", "yaml", "toml", "rust"].contains(&language),
                "{}: {language:?}",
                path.display()
            );
            let prompt = lines.iter().find(|line| command(line).is_some());
            assert!(prompt.is_none(), "{}: {prompt:?} is in no transcript", path.display());
        }
    }
}
