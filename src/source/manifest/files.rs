//! The files that the arguments name, and whether they changed.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
};

use super::mistake;

/// Extensions of manifests in a directory, as for `kubectl apply -f DIRECTORY`.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// How much is read at a time.
const PIECE: usize = 64 << 10;

/// Identifies the state of a file without reading it.
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

/// An existing file.
#[derive(Debug)]
pub(super) struct Found {
    pub path: Arc<Path>,
    /// `None` for a symbolic link that leads nowhere.
    pub signature: Option<Signature>,
    /// Whether a file of a directory is a symbolic link: its content may change without a change in the directory.
    pub is_link: bool,
}

/// A file of a directory that is known not to be a manifest, and a description of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    pub path: Arc<Path>,
    pub what: &'static str,
}

/// The file or files that an argument names.
#[derive(Debug)]
pub(super) enum Listing {
    /// A regular file.
    File(Found),
    /// A directory.
    Directory(Directory),
    /// A file that can be read only once, such as a pipe.
    Stream,
}

/// Looks up what an argument names.
pub(super) fn list(path: &Arc<Path>, recursive: bool) -> io::Result<Listing> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() {
        let signature = Some(Signature::new(&metadata));
        return Ok(Listing::File(Found { path: Arc::clone(path), signature, is_link: false }));
    }
    if !metadata.is_dir() {
        return Ok(Listing::Stream);
    }
    let mut directory = Directory::default();
    directory.read(path, recursive)?;
    directory.files.sort_by(|a, b| a.path.cmp(&b.path));
    directory.others.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Listing::Directory(directory))
}

/// The contents of a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// The manifests, in the order of their names.
    pub files: Vec<Found>,
    /// The files that are left out.
    pub others: Vec<Other>,
    /// Whether there are subdirectories that are not read.
    has_subdirectories: bool,
}

impl Directory {
    /// Reads a directory and, if `recursive`, its subdirectories, but not links to directories, which may lead
    /// anywhere.
    fn read(&mut self, path: &Path, recursive: bool) -> io::Result<()> {
        let Self { files, others, has_subdirectories } = self;
        let mut subdirectories = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let is_link = entry.file_type().is_ok_and(|file_type| file_type.is_symlink());
            // Follows links. Fails for a file that vanished meanwhile.
            let metadata = fs::metadata(entry.path()).ok();
            let name = entry.file_name();
            if metadata.as_ref().is_some_and(Metadata::is_dir) {
                let is_hidden = name.as_encoded_bytes().starts_with(b".");
                if recursive && !is_link && !is_hidden {
                    subdirectories.push(entry.path());
                } else {
                    *has_subdirectories |= !is_hidden;
                }
                continue;
            }
            if !name.to_str().is_some_and(is_manifest) || !is_link && metadata.is_none() {
                continue;
            }
            if let Some(what) = name.to_str().and_then(mistake::by_name) {
                others.push(Other { path: entry.path().into(), what });
                continue;
            }
            if metadata.as_ref().is_none_or(Metadata::is_file) {
                let signature = metadata.as_ref().map(Signature::new);
                files.push(Found { path: entry.path().into(), signature, is_link });
            }
        }
        // The templates of a chart are not manifests.
        if recursive && path.join("Chart.yaml").exists() {
            subdirectories.retain(|path| !path.ends_with("templates"));
        }
        subdirectories.iter().try_for_each(|path| self.read(path, recursive))
    }
}

/// Whether a file of a directory is a manifest: by extension, unless it is hidden or an editor's temporary file.
pub(super) fn is_manifest(name: &str) -> bool {
    let has_extension = name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension));
    has_extension && !name.starts_with(['.', '#'])
}

/// Reads a file of at most `limit` bytes. The signature is that of the state that was read, or of an older state.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<(Vec<u8>, Signature)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // A sparse file may be larger than memory.
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_large(limit));
    }
    Ok((read_text(file, metadata.len(), limit)?, Signature::new(&metadata)))
}

/// Reads a text of at most `limit` bytes; its length is probably `expected`.
///
/// Stops at a NUL byte, which text does not have: `/dev/zero` is refused at once, not after a gigabyte.
pub(super) fn read_text(mut reader: impl Read, expected: u64, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(expected.min(limit)).unwrap_or(usize::MAX))?;
    let mut piece = vec![0; PIECE];
    loop {
        let read = match reader.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => piece.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if read.contains(&0) {
            let start = if bytes.is_empty() { read } else { &bytes };
            // Windows PowerShell redirects output as UTF-16.
            let is_utf16 = start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff");
            let what = if is_utf16 {
                "it is UTF-16 text; save it as UTF-8"
            } else {
                "it is not text, but has NUL bytes"
            };
            return Err(io::Error::other(what));
        }
        if (bytes.len() + read.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        bytes.try_reserve(read.len())?;
        bytes.extend_from_slice(read);
    }
}

fn too_large(limit: u64) -> io::Error {
    let message = format!("it is larger than {limit} bytes (--max-file-size)");
    io::Error::new(io::ErrorKind::FileTooLarge, message)
}

/// The message that a directory holds no manifests, and what it holds instead.
pub(super) fn no_manifests(directory: &Directory) -> String {
    let hint = match directory.others.first() {
        Some(Other { path, what }) => {
            let name = path.file_name().unwrap_or_default();
            format!(" with manifests; {} is {what}", name.display())
        }
        None if directory.has_subdirectories => "; those in its subdirectories are not read (-R)".to_owned(),
        None => String::new(),
    };
    format!("holds no *.yaml, *.yml or *.json{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_recognised_by_name() {
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

    #[test]
    fn reading_ends_at_the_limit_and_at_what_is_no_text() {
        let read = |text: &[u8], limit| read_text(text, 0, limit).map_err(|error| error.to_string());
        assert_eq!(read(b"a: b", 4).unwrap(), b"a: b");
        assert_eq!(read(b"a: bc", 4).unwrap_err(), "it is larger than 4 bytes (--max-file-size)");
        for reader in [&mut io::repeat(b'x') as &mut dyn Read, &mut io::repeat(0)] {
            assert!(read_text(reader, u64::MAX, 1 << 20).is_err());
        }
        assert_eq!(read(b"a: b\0", 1 << 20).unwrap_err(), "it is not text, but has NUL bytes");
    }

    #[test]
    fn a_sparse_file_takes_no_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 42).unwrap();
        let error = super::read(file.path(), 1 << 30).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
