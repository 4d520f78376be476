//! Which files the arguments name, and whether they changed.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

/// Extensions of manifests in a directory, as for `kubectl apply -f DIRECTORY`.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file that is there.
#[derive(Debug)]
pub(super) struct Found {
    pub path: Arc<Path>,
    pub signature: Signature,
    /// Whether a file of a directory is a symbolic link: it may change without its directory.
    pub is_link: bool,
}

/// What an argument names.
#[derive(Debug)]
pub(super) enum Listing {
    /// Regular files: the file itself, or those of a directory in the order of their names.
    Files(Vec<Found>),
    /// Something that can be read once only, such as a pipe.
    Stream,
}

/// Looks up what an argument names.
pub(super) fn list(path: &Arc<Path>) -> io::Result<Listing> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        return Ok(Listing::Files(vec![Found {
            path: Arc::clone(path),
            signature: Signature::new(&metadata),
            is_link: false,
        }]));
    }
    if !metadata.is_dir() {
        return Ok(Listing::Stream);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_manifest) {
            continue;
        }
        // Follows links. A file that vanished meanwhile, or a dangling link, is not there.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if metadata.is_file() {
            let is_link = entry.file_type().is_ok_and(|file_type| file_type.is_symlink());
            let signature = Signature::new(&metadata);
            found.push(Found { path: entry.path().into(), signature, is_link });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Listing::Files(found))
}

/// Whether a file of a directory is a manifest: by extension, but not hidden and no editor's temporary.
pub(super) fn is_manifest(name: &str) -> bool {
    let has_extension = name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension));
    has_extension && !name.starts_with(['.', '#'])
}

/// Reads a file; the signature is of the state that was read, or an older one.
pub(super) fn read(path: &Path) -> io::Result<(Vec<u8>, Signature)> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok((bytes, Signature::new(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_told_by_name() {
        for (name, expected) in [
            ("web.yaml", true),
            ("web.yml", true),
            ("web.json", true),
            ("web.v1.yaml", true),
            ("web.yaml~", false),
            ("web.yaml.swp", false),
            (".web.yaml", false),
            ("#web.yaml", false),
            ("web.txt", false),
            ("yaml", false),
            ("..data", false),
        ] {
            assert_eq!(is_manifest(name), expected, "{name}");
        }
    }
}
