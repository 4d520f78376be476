//! The documents: transcripts show the real output, links have targets, figures and pictures are current, and the
//! explained messages exist. Also the workflows of the hosting site, and the direction of imports. Needs root: transcripts program a kernel, in a
//! network namespace.

mod benchmarks;
mod imports;
mod kernels;
mod links;
mod messages;
mod names;
mod pictures;
mod transcripts;
mod workflows;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the top directory of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns every document with its text: the Markdown files at the top and in `docs`.
fn documents() -> Vec<(PathBuf, String)> {
    let files =
        [top(), top().join("docs")].into_iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Returns all files with Rust code below a directory.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of_entry = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    let files = entries.flat_map(of_entry);
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// Returns the code blocks of a document, each with its language.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut blocks: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(language) if !is_inside => {
                is_inside = true;
                blocks.push((language, Vec::new()));
            }
            Some(_) => is_inside = false,
            None if is_inside => blocks.last_mut().unwrap().1.push(line),
            None => {}
        }
    }
    assert!(!is_inside, "a block has no end");
    blocks
}

/// Returns the text without its code blocks.
fn prose(text: &str) -> String {
    let mut is_inside = false;
    let outside = |line: &&str| {
        let is_fence = line.trim_start().starts_with("```");
        is_inside ^= is_fence;
        !is_inside && !is_fence
    };
    text.lines().filter(outside).collect::<Vec<_>>().join("\n")
}
