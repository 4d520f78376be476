//! The files named on the command line, read again when they change.
//!
//! A file is used as a whole, and so is a path: while it is invalid, its last valid version stays in force. A file that
//! has had no valid version since the start is used in part.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    cluster::{Cluster, Duplicate},
    contents::{Contents, FileProblem},
    files::{self, Directory, Found, Listing, Other, Signature},
    objects::{Entry, sorted},
    parallel, parse,
    problem::Problem,
    refresh::{Objects, Refresh},
    stand_ins::StandInRanges,
};
use crate::{
    api::{Context, ObjectId},
    source::event::Completeness,
};

/// The path that means standard input.
const STDIN: &str = "-";

/// How to allow empty input.
const HINT: &str = "if that is intended, use --allow-empty";

/// The error for a URL.
const URL: &str = "is a URL, and Portolan does not fetch URLs; pipe it in (curl -fsSL URL | portolan … -f -)";

/// Whether a path may be a pattern of names.
pub fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Whether a path is a URL rather than a file.
fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|text| ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme)))
}

/// Default limit of the size of a file: 1 GiB.
pub const MAX_FILE_SIZE: u64 = 1 << 30;

/// Manifests at paths: files, directories, standard input.
///
/// If several objects have the same kind and name, the last one is used: paths in the order given, files of a directory
/// in the order of their names, objects in the order of the file. A directory stands for its files named
/// `*.yaml`, `*.yml` and `*.json`, not for its subdirectories, as for `kubectl apply -f`; hidden files are
/// left out. Standard input, and anything else that is not a regular file, is read once.
#[expect(clippy::struct_excessive_bools, reason = "options that have nothing to do with each other")]
pub struct Source {
    arguments: Vec<Argument>,
    files: BTreeMap<FileKey, FileState>,
    pub(super) node_name: Arc<str>,
    /// The objects in force.
    pub(super) cluster: Cluster,
    /// The last two files with an object, for objects that are in several files.
    duplicates: HashMap<ObjectId, (Arc<Path>, Arc<Path>)>,
    context: Context,
    stdin: Option<Box<dyn Read + Send>>,
    /// The path that means standard input.
    stdin_path: Arc<Path>,
    /// Whether Services without slices get slices that are derived from Pods.
    derives: bool,
    stand_ins: Option<StandInRanges>,
    recursive: bool,
    allow_empty: bool,
    max_file_size: u64,
    /// Whether it was reported that there are no objects.
    is_nothing_reported: bool,
    /// The completeness as last reported.
    completeness: Completeness,
}

struct Argument {
    path: Arc<Path>,
    /// Whether it is a stream that has been read.
    is_read: bool,
    /// Why it cannot be read, as last reported. Its files stay in force.
    failure: Option<String>,
    /// Whether it could be read at least once.
    is_known: bool,
    /// Files of a directory that are symbolic links.
    links: Vec<Arc<Path>>,
    /// Files of a directory that are not manifests, as last reported.
    others: Vec<Other>,
}

/// Files in order of precedence, the lowest first.
type FileKey = (usize, Arc<Path>);

/// The state of a file.
#[derive(Default)]
struct FileState {
    /// The signature of the version that was last read.
    signature: Option<Signature>,
    /// Whether the objects are all objects of a valid version, rather than the usable objects of an invalid version.
    is_good: bool,
    objects: Box<[Entry]>,
    ignored: BTreeMap<Box<str>, usize>,
    /// Present errors, which have been reported.
    errors: HashSet<FileProblem>,
    warnings: HashSet<FileProblem>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&Path> = self.paths().map(|path| &**path).collect();
        f.debug_struct("Source").field("paths", &paths).finish_non_exhaustive()
    }
}

impl Source {
    /// A source of the manifests at these paths (`-` is standard input), for the node with this name.
    ///
    /// Reads nothing yet.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>, node_name: &str) -> Self {
        let mut arguments: Vec<Argument> = Vec::new();
        for path in paths {
            if !arguments.iter().any(|argument| *argument.path == *path) {
                arguments.push(Argument {
                    path: path.into(),
                    is_read: false,
                    failure: None,
                    is_known: false,
                    links: Vec::new(),
                    others: Vec::new(),
                });
            }
        }
        Self {
            arguments,
            files: BTreeMap::new(),
            node_name: node_name.into(),
            cluster: Cluster::default(),
            duplicates: HashMap::new(),
            context: Context::default(),
            stdin: Some(Box::new(io::stdin())),
            stdin_path: Path::new(STDIN).into(),
            derives: true,
            stand_ins: None,
            recursive: false,
            allow_empty: false,
            max_file_size: MAX_FILE_SIZE,
            is_nothing_reported: false,
            completeness: Completeness::default(),
        }
    }

    /// A source of the objects of a cluster, given as text. Services without slices get no slices that are derived from
    /// Pods. In messages, the cluster has this name.
    pub fn of_cluster(name: &str, text: impl Read + Send + 'static, node_name: &str) -> Self {
        let source = Self::new([PathBuf::from(name)], node_name).with_stdin(text);
        Self { stdin_path: Path::new(name).into(), derives: false, allow_empty: true, ..source }
    }

    /// Serves only Services whose label `service.kubernetes.io/service-proxy-name` has this value or, with `None`, only
    /// Services that lack the label. All others belong to another proxy.
    #[must_use]
    pub fn with_proxy_name(mut self, name: Option<Box<str>>) -> Self {
        self.context.own_proxy_name = name;
        self
    }

    /// Gives stand-ins from these ranges to objects that lack values that a cluster would assign, and Pods to objects
    /// with a template of Pods.
    #[must_use]
    pub fn with_stand_ins(mut self, ranges: Option<StandInRanges>) -> Self {
        self.context.has_stand_ins = ranges.is_some();
        self.stand_ins = ranges;
        self
    }

    /// Reads this input for the path `-`, in place of standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Read + Send + 'static) -> Self {
        self.stdin = Some(Box::new(stdin));
        self
    }

    /// Sets whether directories stand for the files of their subdirectories, too. Subdirectories are not watched.
    #[must_use]
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Sets whether empty files, directories without manifests, and input without an object that matters are allowed.
    #[must_use]
    pub fn allow_empty(mut self, allow_empty: bool) -> Self {
        self.allow_empty = allow_empty;
        self
    }

    /// Reads no file of more than this many bytes (default: [`MAX_FILE_SIZE`]).
    #[must_use]
    pub fn with_max_file_size(mut self, bytes: u64) -> Self {
        self.max_file_size = bytes;
        self
    }

    /// Reads all manifests and returns their objects and problems.
    pub fn load(&mut self) -> Objects {
        let Refresh { warnings, errors, .. } = self.refresh(&|_| false);
        let mut ignored = BTreeMap::new();
        for (kind, count) in self.files.values().flat_map(|file| &file.ignored) {
            *ignored.entry(kind.to_string()).or_default() += count;
        }
        let Cluster { services, slices, node, service_cidrs, node_names, .. } = &self.cluster;
        let services = services.iter().map(|entry| &entry.service);
        Objects {
            services: services.map(|service| (service.name.clone(), Arc::clone(service))).collect(),
            slices: slices.iter().map(|slice| (slice.name.clone(), Arc::clone(slice))).collect(),
            node: node.clone(),
            service_cidrs: service_cidrs.clone(),
            node_names: node_names.clone(),
            stand_ins: self.cluster.stand_ins.clone(),
            without_stand_in: self.cluster.without_stand_in.clone(),
            ignored,
            warnings,
            errors,
            completeness: self.completeness,
            is_path_missing: self.is_path_missing(),
        }
    }

    /// The objects of each file, in order of precedence.
    pub(super) fn objects(&self) -> impl Iterator<Item = &[Entry]> {
        self.files.values().map(|file| &*file.objects)
    }

    /// The paths that are read again when they change.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.arguments.iter().filter(|argument| !argument.is_read).map(|argument| &argument.path)
    }

    /// Files of directories that are symbolic links.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.arguments.iter().flat_map(|argument| &argument.links)
    }

    /// Reads the files that changed since the last time, except those that are `busy`, because they are still being
    /// written; their objects stay in force.
    pub(super) fn refresh(&mut self, busy: &dyn Fn(&Path) -> bool) -> Refresh {
        let mut update = Refresh::default();
        let mut is_changed = false;
        for index in 0..self.arguments.len() {
            is_changed |= self.refresh_argument(index, busy, &mut update);
        }
        let is_nothing = !self.allow_empty && self.files.values().all(|file| file.objects.is_empty());
        if is_nothing {
            self.report_empty_paths(&mut update.errors);
        } else if is_changed {
            let (cluster, duplicates) =
                Cluster::new(self.objects(), &self.node_name, self.derives, self.stand_ins.as_ref());
            self.report_duplicates(duplicates, &mut update.warnings);
            update.changes = self.cluster.changes(&cluster);
            let eligibility = cluster.eligibility;
            update.eligibility = Some(eligibility).filter(|now| *now != self.cluster.eligibility);
            self.cluster = cluster;
        }
        self.is_nothing_reported = is_nothing;
        // Without any object, the last objects stay in force.
        let completeness = match self.completeness {
            before if is_nothing => before,
            _ if self.is_whole() => Completeness::Whole,
            _ => Completeness::Partial,
        };
        if completeness != self.completeness {
            self.completeness = completeness;
            update.completeness = Some(completeness);
        }
        update
    }

    /// Whether a good version of every path and file is in force.
    fn is_whole(&self) -> bool {
        self.arguments.iter().all(|argument| argument.is_known)
            && self.files.values().all(|file| file.is_good)
    }

    /// Whether one of the paths cannot be used at all, or a file cannot be read.
    fn is_path_missing(&self) -> bool {
        let is_missing = |(index, argument): (usize, &Argument)| {
            let (mut is_read, mut is_used) = (false, false);
            for (_, file) in self.files.iter().filter(|((of, _), _)| *of == index) {
                is_read = true;
                is_used |= file.is_good || !file.objects.is_empty();
            }
            argument.failure.is_some() || is_read && !is_used
        };
        self.arguments.iter().enumerate().any(is_missing)
            || self.files.values().any(|file| file.errors.iter().any(|e| matches!(e, FileProblem::Unread(_))))
    }

    fn report_empty_paths(&self, errors: &mut Vec<Problem>) {
        if self.is_nothing_reported {
            return;
        }
        for (index, argument) in self.arguments.iter().enumerate() {
            // The other paths have errors of their own.
            let mut files = self.files.iter().filter(|((of, _), _)| *of == index);
            if argument.failure.is_none() && files.all(|(_, file)| file.errors.is_empty()) {
                let message = format!(
                    "holds no Service, EndpointSlice, Endpoints, Pod, Node or ServiceCIDR, nor does any other path; {HINT}"
                );
                errors.push(Problem::of_file(&argument.path, message));
            }
        }
    }

    /// Reads the files that changed at a path. Returns whether objects may have changed.
    fn refresh_argument(&mut self, index: usize, busy: &dyn Fn(&Path) -> bool, update: &mut Refresh) -> bool {
        let Some(argument) = self.arguments.get_mut(index) else { return false };
        if argument.is_read {
            return false;
        }
        let path = Arc::clone(&argument.path);
        let listing =
            if path == self.stdin_path { Ok(Listing::Stream) } else { files::list(&path, self.recursive) };
        let listing = match listing {
            // The path is being replaced.
            Err(_) if busy(&path) => return false,
            Err(_) if is_url(&path) => Err(URL.to_owned()),
            Err(_) if path.to_str().is_some_and(is_pattern) => {
                Err("is not the name of a file, nor a pattern that matches one".to_owned())
            }
            Err(error) => Err(format!("cannot be read: {error}")),
            Ok(Listing::Directory(directory)) if directory.files.is_empty() && !self.allow_empty => {
                Err(files::no_manifests(&directory))
            }
            Ok(listing) => Ok(listing),
        };
        let failure = listing.as_ref().err().cloned();
        if failure != argument.failure {
            update.errors.extend(failure.iter().map(|message| Problem::of_file(&path, message)));
            argument.failure = failure;
        }
        let found = match listing {
            Ok(Listing::File(file)) => vec![file],
            Ok(Listing::Directory(Directory { files, others, .. })) => {
                for Other { path, what } in others.iter().filter(|other| !argument.others.contains(other)) {
                    let message = format!("is {what}, and left out");
                    update.warnings.push(Problem::of_file(path, message));
                }
                argument.others = others;
                files
            }
            Ok(Listing::Stream) => {
                (argument.is_read, argument.is_known) = (true, true);
                return self.read_stream((index, path), update);
            }
            Err(_) => return false,
        };
        argument.is_known = true;
        argument.links = found.iter().filter(|f| f.is_link).map(|f| Arc::clone(&f.path)).collect();
        let present: HashSet<&Path> = found.iter().map(|found| &*found.path).collect();
        let before = self.files.len();
        let is_gone = |(of, path): &FileKey| *of == index && !present.contains(&**path) && !busy(path);
        self.files.retain(|key, _| !is_gone(key));
        let mut is_changed = self.files.len() != before;
        let is_new = |found: &Found| {
            let key = (index, Arc::clone(&found.path));
            let known = self.files.get(&key);
            !busy(&found.path)
                && known.is_none_or(|state| state.signature != found.signature || state.signature.is_none())
        };
        let files: Vec<Found> = found.into_iter().filter(is_new).collect();
        let limit = self.max_file_size;
        let read = parallel::map(&files, &mut self.context, |found, context| {
            files::read(&found.path, limit)
                .map(|(bytes, signature)| (parse::parse(&bytes, context), signature))
        });
        for (Found { path, signature, .. }, result) in files.into_iter().zip(read) {
            let (contents, signature) = match result {
                Ok((contents, signature)) => (contents, Some(signature)),
                // The file was removed since it was listed; the next refresh notices that.
                Err(error) if error.kind() == io::ErrorKind::NotFound && signature.is_some() => continue,
                Err(error) => (unread(&error), None),
            };
            is_changed |= self.take_up((index, path), signature, contents, update);
        }
        is_changed
    }

    fn read_stream(&mut self, key: FileKey, update: &mut Refresh) -> bool {
        let result = if key.1 == self.stdin_path {
            let stdin = self.stdin.take().unwrap_or_else(|| Box::new(io::empty()));
            files::read_text(stdin, 0, self.max_file_size)
        } else {
            files::read(&key.1, self.max_file_size).map(|(bytes, _)| bytes)
        };
        let contents = match result {
            Ok(bytes) => parse::parse(&bytes, &mut self.context),
            Err(error) => unread(&error),
        };
        self.take_up(key, None, contents, update)
    }

    /// Puts the new contents of a file in force, unless they have errors and there is a valid version. Returns whether
    /// objects may have changed.
    fn take_up(
        &mut self,
        key: FileKey,
        signature: Option<Signature>,
        mut contents: Contents,
        update: &mut Refresh,
    ) -> bool {
        let path = Arc::clone(&key.1);
        let state = self.files.entry(key).or_default();
        state.signature = signature;
        // Editors and shells truncate a file before they write it; a command that fails writes nothing.
        if contents.is_empty() && !self.allow_empty {
            let is_stdin = path == self.stdin_path;
            let hint = if is_stdin { " (did the command that writes it fail?)" } else { "" };
            let message = format!("holds no object{hint}; {HINT}");
            contents.errors.push(FileProblem::Text { line: None, message });
        }
        let Contents { objects, ignored, errors, warnings } = contents;
        let is_good = errors.is_empty();
        update.errors.extend(report(&path, errors, &mut state.errors));
        if !is_good && state.is_good {
            return false;
        }
        update.warnings.extend(report(&path, warnings, &mut state.warnings));
        state.is_good = is_good;
        state.objects = sorted(objects);
        state.ignored = ignored;
        true
    }

    /// Reports objects that several files hold, each once.
    fn report_duplicates(&mut self, duplicates: Vec<Duplicate>, warnings: &mut Vec<Problem>) {
        let paths: Vec<&Arc<Path>> = self.files.keys().map(|(_, path)| path).collect();
        let mut known = HashMap::new();
        for Duplicate { id, unused, used } in duplicates {
            let (Some(unused), Some(used)) = (paths.get(unused), paths.get(used)) else { continue };
            let pair = (Arc::clone(unused), Arc::clone(used));
            if self.duplicates.get(&id) != Some(&pair) {
                let message = format!("is used instead of the one in {}", unused.display());
                warnings.push(Problem { object: Some(id.to_string()), ..Problem::of_file(used, message) });
            }
            known.insert(id, pair);
        }
        self.duplicates = known;
    }
}

/// The contents of a file that cannot be read.
fn unread(error: &io::Error) -> Contents {
    Contents::broken(FileProblem::Unread(format!("cannot be read: {error}")))
}

/// Remembers the present problems of a file, and returns the new ones.
fn report(path: &Arc<Path>, findings: Vec<FileProblem>, known: &mut HashSet<FileProblem>) -> Vec<Problem> {
    let mut now = HashSet::with_capacity(findings.len());
    let mut new = Vec::new();
    for finding in findings {
        if now.insert(finding.clone()) && !known.contains(&finding) {
            new.push(Problem::new(path, finding));
        }
    }
    *known = now;
    new
}
