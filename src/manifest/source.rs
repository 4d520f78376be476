//! The files named on the command line, read again when they change.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnetwork::IpNetwork;
use portolan_rules::model::{EndpointSlice, Node, ObjectName, Service};

use super::{
    cluster::Cluster,
    contents::{Contents, Object, Trouble},
    files::{self, Found, Listing, Signature},
    held::Held,
    parallel, parse,
    problem::Problem,
};
use crate::{
    api::{Context, ObjectId},
    source::Change,
};

/// Everything that the manifests say.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Services that a proxy serves.
    pub services: BTreeMap<ObjectName, Arc<Service>>,
    /// Slices of Services, and those derived from Pods for Services that have none.
    pub slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    /// The Node object of this node, if there is one.
    pub node: Option<Arc<Node>>,
    /// The ranges of all `ServiceCIDR` objects, in order.
    pub service_cidrs: Vec<IpNetwork>,
    /// Objects of kinds that do not matter here, counted by kind.
    pub ignored: BTreeMap<String, usize>,
    /// Parts of objects that are ignored.
    pub warnings: Vec<Problem>,
    /// Files and objects that cannot be used.
    pub errors: Vec<Problem>,
}

/// What changed since the last look, and what is newly wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Differences: Services, slices, node, ranges.
    pub changes: Vec<Change>,
    /// Parts of objects that are ignored; each is reported once.
    pub warnings: Vec<Problem>,
    /// Files and objects that cannot be used, whose last good state stays; each is reported once.
    pub errors: Vec<Problem>,
    /// Whether any file or object cannot be used, reported now or before.
    pub is_incomplete: bool,
}

impl Update {
    /// Whether there is nothing to do and nothing to say.
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.warnings.is_empty() && self.errors.is_empty()
    }
}

/// The path that means standard input.
const STDIN: &str = "-";

/// Manifests at paths: files, directories, standard input.
///
/// Of objects of one kind and name the last counts: paths in the order given, files of a directory in
/// the order of their names, objects in the order of the file. A directory stands for its files named
/// `*.yaml`, `*.yml` and `*.json`, not for its subdirectories, as for `kubectl apply -f`; hidden files are
/// left out. Standard input, and anything else that is not a regular file, is read once.
pub struct Source {
    arguments: Vec<Argument>,
    files: BTreeMap<FileKey, FileState>,
    cluster: Cluster,
    /// The two last files with an object, for objects that several files hold.
    duplicates: HashMap<ObjectId, (FileKey, FileKey)>,
    context: Context,
    stdin: Option<Box<dyn Read + Send>>,
}

struct Argument {
    path: Arc<Path>,
    /// Whether a stream has been read, after which it has no more to say.
    is_read: bool,
    /// Why it cannot be looked up, as last reported.
    failure: Option<String>,
    /// Files of a directory that are symbolic links.
    links: Vec<Arc<Path>>,
}

/// Files in order of precedence, the lowest first.
type FileKey = (usize, Arc<Path>);

/// Who has an object: the last file but one, and the last.
type Holders<'a> = (Option<&'a FileKey>, Option<(&'a FileKey, Object)>);

/// The last good state of a file.
#[derive(Default)]
struct FileState {
    signature: Option<Signature>,
    objects: Held,
    ignored: BTreeMap<Box<str>, usize>,
    /// What has been reported and still holds.
    errors: HashSet<Trouble>,
    warnings: HashSet<Trouble>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<&Path> = self.paths().map(|path| &**path).collect();
        f.debug_struct("Source").field("paths", &paths).finish_non_exhaustive()
    }
}

impl Source {
    /// A source of the manifests at these paths (`-` is standard input), for the node of this name.
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
                    links: Vec::new(),
                });
            }
        }
        Self {
            arguments,
            files: BTreeMap::new(),
            cluster: Cluster::new(node_name),
            duplicates: HashMap::new(),
            context: Context::default(),
            stdin: Some(Box::new(io::stdin())),
        }
    }

    /// Serves only Services whose label `service.kubernetes.io/service-proxy-name` has this value or, without one,
    /// those that lack the label; all others are another proxy's.
    #[must_use]
    pub fn with_proxy_name(mut self, name: Option<Box<str>>) -> Self {
        self.context.own_proxy_name = name;
        self
    }

    /// Reads something else for the path `-`.
    #[must_use]
    pub fn with_stdin(mut self, stdin: impl Read + Send + 'static) -> Self {
        self.stdin = Some(Box::new(stdin));
        self
    }

    /// Reads all manifests and returns what they say, and all that is wrong with them.
    pub fn load(&mut self) -> Objects {
        let Update { warnings, errors, .. } = self.refresh(&|_| false);
        let mut ignored = BTreeMap::new();
        for (kind, count) in self.files.values().flat_map(|file| &file.ignored) {
            *ignored.entry(kind.to_string()).or_default() += count;
        }
        Objects {
            services: self.cluster.services(),
            slices: self.cluster.slices(),
            node: self.cluster.node(),
            service_cidrs: self.cluster.service_cidrs(),
            ignored,
            warnings,
            errors,
        }
    }

    /// The paths that are looked at again and again.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.arguments.iter().filter(|argument| !argument.is_read).map(|argument| &argument.path)
    }

    /// Files of directories that are symbolic links.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Path>> {
        self.arguments.iter().flat_map(|argument| &argument.links)
    }

    /// Reads the files that changed since the last time, but not those that are `busy`: somebody is still
    /// writing them, and what they hold stays as it is.
    pub(super) fn refresh(&mut self, busy: &dyn Fn(&Path) -> bool) -> Update {
        let mut update = Update::default();
        let mut changed = HashSet::new();
        for index in 0..self.arguments.len() {
            self.refresh_argument(index, busy, &mut changed, &mut update);
        }
        let winners = self.winners(changed, &mut update.warnings);
        update.changes = self.cluster.apply(winners.into_iter());
        update.is_incomplete = self.arguments.iter().any(|argument| argument.failure.is_some())
            || self.files.values().any(|file| !file.errors.is_empty());
        update
    }

    fn refresh_argument(
        &mut self,
        index: usize,
        busy: &dyn Fn(&Path) -> bool,
        changed: &mut HashSet<ObjectId>,
        update: &mut Update,
    ) {
        let Some(argument) = self.arguments.get_mut(index) else { return };
        if argument.is_read {
            return;
        }
        let path = Arc::clone(&argument.path);
        let listing = if *path == *Path::new(STDIN) { Ok(Listing::Stream) } else { files::list(&path) };
        let failure = listing.as_ref().err().map(|error| format!("cannot be read: {error}"));
        if failure != argument.failure {
            update.errors.extend(failure.iter().map(|message| Problem::of_file(&path, message)));
            argument.failure = failure;
        }
        let found = match listing {
            Ok(Listing::Files(found)) => found,
            Ok(Listing::Stream) => {
                argument.is_read = true;
                self.read_stream((index, path), changed, update);
                return;
            }
            // Gone, and its files with it; any other failure says nothing about the files.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !busy(&path) => Vec::new(),
            Err(_) => return,
        };
        argument.links = found.iter().filter(|f| f.is_link).map(|f| Arc::clone(&f.path)).collect();
        let present: HashSet<&Path> = found.iter().map(|found| &*found.path).collect();
        let of_argument = self.files.keys().filter(|(argument, _)| *argument == index);
        let is_gone = |(_, path): &&FileKey| !present.contains(&**path) && !busy(path);
        let gone: Vec<FileKey> = of_argument.filter(is_gone).cloned().collect();
        for key in gone {
            let state = self.files.remove(&key).unwrap_or_default();
            changed.extend(state.objects.iter().map(|(id, _)| id));
        }
        let is_changed = |found: &Found| {
            let key = (index, Arc::clone(&found.path));
            !busy(&found.path)
                && self.files.get(&key).is_none_or(|state| state.signature != Some(found.signature))
        };
        let files: Vec<Found> = found.into_iter().filter(is_changed).collect();
        let read = parallel::map(&files, &mut self.context, |found, context| {
            files::read(&found.path).map(|(bytes, signature)| (parse::parse(&bytes, context), signature))
        });
        for (Found { path, .. }, result) in files.into_iter().zip(read) {
            match result {
                Ok((contents, signature)) => {
                    self.take_up((index, path), Some(signature), contents, changed, update);
                }
                // Removed since it was listed: the next look will tell.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let contents = Contents::broken(None, format!("cannot be read: {error}"));
                    self.take_up((index, path), None, contents, changed, update);
                }
            }
        }
    }

    fn read_stream(&mut self, key: FileKey, changed: &mut HashSet<ObjectId>, update: &mut Update) {
        let mut bytes = Vec::new();
        let result = if *key.1 == *Path::new(STDIN) {
            self.stdin.take().map_or(Ok(0), |mut stdin| stdin.read_to_end(&mut bytes))
        } else {
            std::fs::File::open(&key.1).and_then(|mut file| file.read_to_end(&mut bytes))
        };
        let contents = match result {
            Ok(_) => parse::parse(&bytes, &mut self.context),
            Err(error) => Contents::broken(None, format!("cannot be read: {error}")),
        };
        self.take_up(key, None, contents, changed, update);
    }

    /// Replaces the last good state of a file by what it holds now, as far as that is good.
    fn take_up(
        &mut self,
        key: FileKey,
        signature: Option<Signature>,
        contents: Contents,
        changed: &mut HashSet<ObjectId>,
        update: &mut Update,
    ) {
        let path = Arc::clone(&key.1);
        let is_new = !self.files.contains_key(&key);
        let state = self.files.entry(key).or_default();
        state.signature = signature;
        let mut contents = contents;
        // An editor, or a shell, empties a file before it writes it anew.
        if contents.is_blank && !state.objects.is_empty() {
            let message = "is empty; what it held stays in force until the file is removed".to_owned();
            contents = Contents::broken(None, message);
        }
        let keeps_all = contents.is_incomplete && !is_new;
        update.errors.extend(report(&path, contents.errors, &mut state.errors));
        if keeps_all {
            return;
        }
        update.warnings.extend(report(&path, contents.warnings, &mut state.warnings));
        let mut objects = contents.objects;
        for id in contents.unusable {
            if let Some(object) = state.objects.get(&id) {
                objects.insert(id, object);
            }
        }
        state.objects.replace(objects, |id| _ = changed.insert(id));
        state.ignored = contents.ignored;
    }

    /// The objects in force under these names: of each the one in the last file that has it.
    fn winners(
        &mut self,
        changed: HashSet<ObjectId>,
        warnings: &mut Vec<Problem>,
    ) -> Vec<(ObjectId, Option<Object>)> {
        let mut holders: HashMap<ObjectId, Holders<'_>> =
            changed.into_iter().map(|id| (id, (None, None))).collect();
        for (key, state) in &self.files {
            // Whichever is shorter: a change of one file among thousands, or of one huge file.
            if state.objects.len() <= holders.len() {
                for (id, object) in state.objects.iter() {
                    if let Some(holder) = holders.get_mut(&id) {
                        *holder = (holder.1.take().map(|(key, _)| key), Some((key, object)));
                    }
                }
            } else {
                for (id, holder) in &mut holders {
                    if let Some(object) = state.objects.get(id) {
                        *holder = (holder.1.take().map(|(key, _)| key), Some((key, object)));
                    }
                }
            }
        }
        // Names in order make the order of changes, and of warnings, the same every time.
        let mut holders: Vec<_> = holders.into_iter().collect();
        holders.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut winners = Vec::with_capacity(holders.len());
        for (id, (before, last)) in holders {
            match (before, &last) {
                (Some(before), Some((last, _))) => {
                    let pair = (before.clone(), FileKey::clone(last));
                    if self.duplicates.get(&id) != Some(&pair) {
                        warnings.push(Problem {
                            file: Arc::clone(&last.1),
                            line: None,
                            object: Some(id.to_string()),
                            field: None,
                            message: format!("is used instead of that in {}", before.1.display()),
                        });
                        self.duplicates.insert(id.clone(), pair);
                    }
                }
                _ => _ = self.duplicates.remove(&id),
            }
            winners.push((id, last.map(|(_, object)| object)));
        }
        winners
    }
}

/// Remembers what is wrong with a file now, and gives what was not before.
fn report(path: &Arc<Path>, troubles: Vec<Trouble>, known: &mut HashSet<Trouble>) -> Vec<Problem> {
    let mut now = HashSet::with_capacity(troubles.len());
    let mut new = Vec::new();
    for trouble in troubles {
        if now.insert(trouble.clone()) && !known.contains(&trouble) {
            new.push(Problem::new(path, trouble));
        }
    }
    *known = now;
    new
}
