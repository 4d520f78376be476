//! The pictures of the documents are those that `docs/draw.sh` draws.

use std::{env, fs, path::Path, process::Command};

use portolan_integration::binary;

use crate::{documents, top};

/// Returns the names of the pictures in a directory.
fn pictures(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let drawn = files.filter(|path| path.extension().is_some_and(|end| end == "svg"));
    let mut names: Vec<String> =
        drawn.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn pictures_are_as_draw_draws_them() {
    let directory = tempfile::tempdir().unwrap();
    let binary = binary().unwrap();
    let path = format!("{}:{}", binary.parent().unwrap().display(), env::var("PATH").unwrap());
    let script = top().join("docs/draw.sh");
    let output = Command::new(script).arg(directory.path()).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = pictures(directory.path());
    assert!(!names.is_empty());
    assert_eq!(names, pictures(&top().join("docs")));
    for name in names {
        let drawn = fs::read_to_string(directory.path().join(&name)).unwrap();
        let kept = fs::read_to_string(top().join("docs").join(&name)).unwrap();
        assert!(drawn == kept, "docs/{name} is not what is drawn now: make pictures");
        let is_shown = documents().iter().any(|(_, text)| text.contains(&name));
        assert!(is_shown, "no document shows docs/{name}");
    }
}
