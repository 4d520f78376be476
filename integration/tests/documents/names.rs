//! Paths and names of code in the documents for contributors exist.

use std::{collections::BTreeSet, fs};

use crate::{prose, sources, top};

/// The documents that name files, folders and items of code.
const DOCUMENTS: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The folders that paths begin with.
const FOLDERS: [&str; 5] = ["src", "rules", "integration", "docker", "docs"];

/// Returns the texts between backticks in a document.
fn code_spans(document: &str) -> Vec<String> {
    let text = fs::read_to_string(top().join(document)).unwrap();
    let text = prose(&text);
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn paths_in_the_documents_for_contributors_exist() {
    for document in DOCUMENTS {
        for span in code_spans(document) {
            let is_path = span.split_once('/').is_some_and(|(first, _)| FOLDERS.contains(&first));
            // A pattern matches the names with the same beginning.
            let path = span.split(['*', ' ']).next().unwrap();
            if is_path {
                let (folder, beginning) = path.rsplit_once('/').unwrap();
                let names = fs::read_dir(top().join(folder)).unwrap_or_else(|_| panic!("{document}: {span}"));
                let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
                let is_there = |name: String| {
                    if span.contains('*') {
                        name.starts_with(beginning)
                    } else {
                        name == beginning || name == format!("{beginning}.rs")
                    }
                };
                assert!(beginning.is_empty() || names.any(is_there), "{document}: {span}");
            }
        }
    }
}

#[test]
fn items_in_the_documents_for_contributors_exist() {
    let files = ["src", "rules", "integration"].iter().flat_map(|folder| sources(&top().join(folder)));
    let code: Vec<String> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let is_declared = |name: &str| {
        let declarations =
            ["fn", "struct", "enum", "trait", "const", "type"].map(|kind| format!("{kind} {name}"));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let is_in = |text: &String| {
            declarations.iter().any(|declared| {
                text.match_indices(&**declared).any(|(at, _)| ends(&text[at + declared.len()..]))
            })
        };
        // Looks for variants of an enumeration.
        code.iter().any(is_in)
            || code.iter().any(|text| {
                text.contains(&format!("    {name},\n")) || text.contains(&format!("    {name} = "))
            })
    };
    for document in DOCUMENTS {
        for span in code_spans(document) {
            let names: Vec<&str> = span.split("::").collect();
            let is_name =
                |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if names.len() > 1 && names.iter().all(is_name) && names[0] != "std" {
                for name in names {
                    assert!(is_declared(name), "{document}: {span}: there is no {name}");
                }
            }
        }
    }
}

/// The table of folders is complete.
#[test]
fn each_folder_of_the_sources_is_in_the_table() {
    let spans: BTreeSet<String> = code_spans("ARCHITECTURE.md").into_iter().collect();
    for folder in ["src", "rules/src"] {
        for entry in fs::read_dir(top().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                assert!(spans.contains(name), "ARCHITECTURE.md does not say what {folder}/{name} is for");
            }
        }
    }
}

/// Each dependency is named in ARCHITECTURE.md.
#[test]
fn each_dependency_has_its_reason() {
    let spans: BTreeSet<String> = code_spans("ARCHITECTURE.md").into_iter().collect();
    for manifest in ["Cargo.toml", "rules/Cargo.toml", "integration/Cargo.toml"] {
        let text = fs::read_to_string(top().join(manifest)).unwrap();
        let sections = text.split("\n[").filter(|section| {
            section.split(']').next().is_some_and(|name| name == "dependencies" || name == "dev-dependencies")
        });
        let names =
            sections.flat_map(|section| section.lines().skip(1)).filter_map(|line| line.split_once(" = "));
        let names = names.map(|(name, _)| name.trim_end_matches(".workspace"));
        for name in names.filter(|name| !name.starts_with("portolan")) {
            assert!(spans.contains(name), "ARCHITECTURE.md does not say what {manifest} has {name} for");
        }
    }
}

/// Messages name flags that exist.
#[test]
fn each_flag_that_a_message_names_exists() {
    fn add(command: &clap::Command, flags: &mut BTreeSet<String>) {
        flags.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|command| add(command, flags));
    }
    // The last one is of iptables-restore.
    let mut flags = BTreeSet::from(["help", "version", "test"].map(str::to_owned));
    add(&portolan::cli::arguments::definition(), &mut flags);
    let mut files = sources(&top().join("src"));
    // The table of options defines flags, rather than names them.
    files.retain(|file| !file.ends_with("config/options.rs") && !file.ends_with("tests.rs"));
    files.retain(|file| file.components().all(|component| component.as_os_str() != "tests"));
    let mut named = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code.take_while(|line| *line != "#[cfg(test)]") {
            for (at, _) in line.match_indices("--") {
                let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                let rest = &line[at + 2..];
                let name = &rest[..rest.find(|c: char| !is_part(c)).unwrap_or(rest.len())];
                if name.starts_with(|c: char| c.is_ascii_lowercase()) {
                    assert!(flags.contains(name), "{}: there is no --{name}", file.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 50, "{named} flags");
}
