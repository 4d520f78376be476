//! Missing or bad input removes nothing: no objects at all, files that become invalid, and files that are too large.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Cursor, Read, Write as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use portolan::source::{
    Change,
    manifest::{Completeness, Objects, Refresh, Source, Watcher},
};
use proptest::{collection::vec, prelude::*};
use tempfile::TempDir;

const STATUS: &str = r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
    "message": "services is forbidden: User \"reader\" cannot list", "reason": "Forbidden", "code": 403}"#;

/// Texts without any object, and the errors about them.
const EMPTY: [(&str, &str); 6] = [
    ("", "holds no object"),
    (" \n\n", "holds no object"),
    ("# kubectl wrote nothing\n---\n# at all\n", "holds no object"),
    ("{apiVersion: v1, kind: List, items: []}\n", "holds no object"),
    ("{\"apiVersion\": \"v1\", \"kind\": \"ServiceList\", \"items\": null}", "holds no object"),
    (STATUS, "services is forbidden: User \"reader\" cannot list"),
];

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 10.96.0.1, ports: [{{port: {port}}}]}}\n"
    )
}

fn source(path: &Path) -> Source {
    Source::new([path.to_path_buf()], "node-1")
}

fn from_stdin(text: impl Read + Send + 'static) -> Source {
    source(Path::new("-")).with_stdin(text)
}

/// Returns the Services with their ports, and how complete the input is.
fn found(objects: &Objects) -> (Vec<String>, Completeness) {
    let services = objects.services.values();
    let services = services.map(|service| format!("{}={}", service.name.name, service.ports[0].port));
    (services.collect(), objects.completeness)
}

#[track_caller]
fn assert_one_error(objects: &Objects, words: &str) {
    let errors: Vec<String> = objects.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(words), "{errors:?} without {words:?}");
}

#[test]
fn no_object_at_all_is_an_error() {
    for (text, words) in EMPTY {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("a.yaml"), text).unwrap();
        for mut source in [
            from_stdin(Cursor::new(text.as_bytes())),
            source(directory.path()),
            source(&directory.path().join("a.yaml")),
        ] {
            let objects = source.load();
            assert_one_error(&objects, words);
            assert_eq!(found(&objects), (vec![], Completeness::Nothing), "{text}");
            assert!(objects.is_path_missing, "{text}");
        }
        let objects = from_stdin(Cursor::new(text.as_bytes())).allow_empty(true).load();
        if text == STATUS {
            assert_one_error(&objects, words);
        } else {
            assert_eq!((objects.errors.len(), objects.completeness), (0, Completeness::Whole), "{text}");
        }
    }
}

#[test]
fn a_directory_without_manifests_is_named() {
    let directory = TempDir::new().unwrap();
    let name = directory.path().display().to_string();
    let objects = source(directory.path()).load();
    assert_one_error(&objects, &format!("{name}: holds no *.yaml, *.yml or *.json"));
    assert!(!objects.errors[0].to_string().contains("subdirectories"));
    fs::create_dir(directory.path().join("base")).unwrap();
    fs::write(directory.path().join("base/web.yaml"), service("web", 80)).unwrap();
    fs::write(directory.path().join("README.md"), "read me").unwrap();
    let objects = source(directory.path()).load();
    assert_one_error(&objects, "subdirectories are not read");
    assert_eq!(objects.completeness, Completeness::Nothing);
    assert_eq!(source(directory.path()).allow_empty(true).load().completeness, Completeness::Whole);
}

#[test]
fn objects_of_other_kinds_alone_are_nothing_and_beside_others_they_are_fine() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("a.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}")
        .unwrap();
    let objects = source(directory.path()).load();
    assert_one_error(&objects, "holds no Service, EndpointSlice, Endpoints, Pod, Node or ServiceCIDR");
    assert_eq!(objects.completeness, Completeness::Nothing);
    fs::write(directory.path().join("b.yaml"), service("web", 80)).unwrap();
    let objects = source(directory.path()).load();
    assert_eq!((objects.errors.len(), objects.completeness), (0, Completeness::Whole));
}

#[test]
fn a_path_of_which_nothing_can_be_used_is_missing_beside_one_that_is_good() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("good.yaml"), service("web", 80)).unwrap();
    fs::create_dir(at("empty")).unwrap();
    for (text, path) in [("", "-"), (STATUS, "-"), ("[", "-"), ("x", "absent.yaml"), ("x", "empty")] {
        let second = if path == "-" { PathBuf::from(path) } else { at(path) };
        let mut source =
            Source::new([at("good.yaml"), second], "node-1").with_stdin(Cursor::new(text.as_bytes()));
        let objects = source.load();
        assert_eq!(found(&objects), (vec!["web=80".to_owned()], Completeness::Partial), "{text} at {path}");
        assert!(objects.is_path_missing, "{text} at {path}");
    }
    // One bad object among good ones is left out.
    fs::write(at("good.yaml"), service("web", 80) + "---\n" + &service("bad", 0)).unwrap();
    let objects = source(&at("good.yaml")).load();
    assert_eq!(found(&objects), (vec!["web=80".to_owned()], Completeness::Partial));
    assert!(!objects.is_path_missing);
}

#[test]
fn what_is_too_large_or_no_text_is_one_line() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let sparse = File::create(at("sparse.yaml")).unwrap();
    for (length, words) in [(1 << 42, "larger than 1073741824 bytes"), (1 << 29, "NUL")] {
        sparse.set_len(length).unwrap();
        let objects = source(directory.path()).load();
        assert_one_error(&objects, words);
        assert!(objects.is_path_missing);
    }
    assert_one_error(&source(Path::new("/dev/zero")).load(), "/dev/zero: cannot be read: it is not text");
    assert_one_error(&from_stdin(io::repeat(0)).load(), "-: cannot be read: it is not text");
    let endless = || io::repeat(b'\n');
    assert_one_error(&from_stdin(endless()).with_max_file_size(1 << 20).load(), "larger than 1048576 bytes");

    let fifo = at("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let writer = thread::spawn({
        let fifo = fifo.clone();
        // The copy ends with an error once the reader is gone.
        move || drop(io::copy(&mut endless(), &mut File::create(fifo).unwrap()))
    });
    assert_one_error(&source(&fifo).with_max_file_size(1 << 20).load(), "larger than 1048576 bytes");
    writer.join().unwrap();
}

#[test]
fn an_object_has_4_mib_at_most_and_a_list_of_them_more() {
    let filler = "x".repeat(5 << 20);
    let noted = |name: &str, text: &str| {
        service(name, 80).replace("metadata: {", &format!("metadata: {{annotations: {{a: {text}}}, "))
    };
    let json =
        |text: &str| serde_saphyr::from_str::<serde_json::Value>(&noted("web", text)).unwrap().to_string();
    let objects = from_stdin(Cursor::new(service("a", 80) + "---\n" + &noted("web", &filler))).load();
    assert_eq!(found(&objects), (vec!["a=80".to_owned()], Completeness::Partial));
    assert_one_error(&objects, "-:5: an object is larger than 4 MiB");
    assert_one_error(&from_stdin(Cursor::new(json(&filler))).load(), "-:1: an object is larger than 4 MiB");

    let half = "x".repeat(3 << 20);
    for text in [
        format!(
            "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}, {}]}}",
            json(&half),
            json(&half)
        ),
        format!("apiVersion: v1\nitems:\n- {}\n- {}\nkind: List\n", json(&half), json(&half)),
    ] {
        let objects = from_stdin(Cursor::new(text)).load();
        assert_eq!(objects.errors, []);
        assert_eq!(found(&objects).1, Completeness::Whole);
    }
}

fn watch(source: Source) -> (Watcher, Objects) {
    source.watch()
}

/// Returns the next update, well before files are checked without an event.
fn update(watcher: &mut Watcher) -> Refresh {
    let update = watcher.wait(Some(Duration::from_secs(8))).unwrap();
    assert!(!update.is_empty(), "no update");
    update
}

/// Returns the changed Services of an update, the number of errors, and the new completeness.
fn update_of(update: &Refresh) -> (Vec<String>, usize, Option<Completeness>) {
    let changes = update.changes.iter().map(|change| match change {
        Change::Service(name, Some(service)) => format!("{}={}", name.name, service.ports[0].port),
        Change::Service(name, None) => format!("-{}", name.name),
        other => panic!("{other:?}"),
    });
    (changes.collect(), update.errors.len(), update.completeness)
}

#[test]
fn a_file_that_loses_its_objects_keeps_them_in_force() {
    for (text, _) in EMPTY {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("web.yaml");
        fs::write(directory.path().join("other.yaml"), service("other", 80)).unwrap();
        fs::write(&file, service("web", 80)).unwrap();
        let (mut watcher, _) = watch(source(directory.path()));
        fs::write(&file, text).unwrap();
        assert_eq!(update_of(&update(&mut watcher)), (vec![], 1, None), "{text:?}");
        fs::write(&file, service("web", 81)).unwrap();
        assert_eq!(update_of(&update(&mut watcher)), (vec!["web=81".to_owned()], 0, None), "{text:?}");

        if text != STATUS {
            let (mut watcher, _) = watch(source(directory.path()).allow_empty(true));
            fs::write(&file, text).unwrap();
            assert_eq!(update_of(&update(&mut watcher)), (vec!["-web".to_owned()], 0, None), "{text:?}");
        }
    }
}

#[test]
fn a_file_that_is_removed_takes_its_objects_with_it_unless_nothing_is_left() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["a", "b"] {
        fs::write(at(&format!("{name}.yaml")), service(name, 80)).unwrap();
    }
    fs::write(at("config.yaml"), "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}").unwrap();
    let (mut watcher, _) = watch(source(directory.path()));
    fs::remove_file(at("a.yaml")).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec!["-a".to_owned()], 0, None));
    fs::remove_file(at("b.yaml")).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec![], 1, None), "only a ConfigMap is left");
    fs::remove_file(at("config.yaml")).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec![], 1, None), "nothing is left");
    fs::write(at("c.yaml"), service("c", 80)).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec!["-b".to_owned(), "c=80".to_owned()], 0, None));
}

#[test]
fn at_a_start_the_usable_part_counts_until_all_of_it_is_good() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("other.yaml"), service("other", 80)).unwrap();
    fs::write(at("web.yaml"), service("web", 80) + "---\n" + &service("bad", 0)).unwrap();
    let (mut watcher, objects) = watch(source(directory.path()));
    let both = vec!["other=80".to_owned(), "web=80".to_owned()];
    assert_eq!(found(&objects), (both, Completeness::Partial));

    // Another file changes, and this one is as bad as before: the completeness is not reported again.
    fs::write(at("other.yaml"), service("other", 81)).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec!["other=81".to_owned()], 0, None));
    // A repair that changes no object: only the completeness is reported.
    fs::write(at("web.yaml"), service("web", 80)).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec![], 0, Some(Completeness::Whole)));
    // The file breaks again, after a good version.
    fs::write(at("web.yaml"), "[").unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec![], 1, None));
}

#[test]
fn a_broken_file_that_is_removed_is_not_missed() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("web.yaml"), service("web", 80)).unwrap();
    fs::write(directory.path().join("broken.yaml"), "[").unwrap();
    let (mut watcher, objects) = watch(source(directory.path()));
    assert_eq!(objects.completeness, Completeness::Partial);
    fs::remove_file(directory.path().join("broken.yaml")).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec![], 0, Some(Completeness::Whole)));
}

#[test]
fn nothing_becomes_something_in_a_directory_that_is_watched() {
    let directory = TempDir::new().unwrap();
    let (mut watcher, objects) = watch(source(directory.path()));
    assert_eq!(objects.completeness, Completeness::Nothing);
    fs::write(directory.path().join("web.yaml"), service("web", 80)).unwrap();
    assert_eq!(update_of(&update(&mut watcher)), (vec!["web=80".to_owned()], 0, Some(Completeness::Whole)));
}

/// A change of a file.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A Service with this port.
    Good(u16),
    /// A Service with this port, and an invalid object.
    PartlyGood(u16),
    /// Invalid text, or none.
    Bad(&'static str),
    Removed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..100_u16).prop_map(Step::Good),
        2 => (1..100_u16).prop_map(Step::PartlyGood),
        3 => prop::sample::select(vec!["[", "", "# no", STATUS]).prop_map(Step::Bad),
        1 => Just(Step::Removed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Each file has a Service with its name. The last good version is in force, or the usable part of the last version
    /// while there was no good one. Nothing is removed if no object at all would be left.
    #[test]
    fn the_last_good_version_of_each_file_is_in_force(steps in vec((0..3_usize, step()), 1..12)) {
        let directory = TempDir::new().unwrap();
        let mut source = source(directory.path());
        // For each file: the port in force, if any, and whether it comes from a good version.
        let mut files: BTreeMap<usize, (Option<u16>, bool)> = BTreeMap::new();
        let mut in_force = Vec::new();
        for (i, (file, step)) in steps.into_iter().enumerate() {
            let name = format!("f{file}");
            let path = directory.path().join(format!("{name}.yaml"));
            let known = files.get(&file).copied().unwrap_or_default();
            let text = match step {
                Step::Good(port) => {
                    files.insert(file, (Some(port), true));
                    service(&name, port)
                }
                Step::PartlyGood(port) => {
                    files.insert(file, if known.1 { known } else { (Some(port), false) });
                    service(&name, port) + "---\n" + &service("bad", 0)
                }
                Step::Bad(text) => {
                    files.insert(file, if known.1 { known } else { (None, false) });
                    text.to_owned()
                }
                Step::Removed => {
                    drop(fs::remove_file(&path));
                    // A directory without manifests removes nothing.
                    if files.len() > 1 || !files.contains_key(&file) {
                        files.remove(&file);
                    }
                    String::new()
                }
            };
            if !matches!(step, Step::Removed) {
                // Each version has another length, so that it differs from the previous one even within a clock tick.
                let mut new = File::create(directory.path().join(".new")).unwrap();
                new.write_all(text.as_bytes()).unwrap();
                new.write_all(&vec![b'\n'; i * 300]).unwrap();
                fs::rename(directory.path().join(".new"), &path).unwrap();
                // A removed file whose objects stayed, because it was the last one, goes once there is another file.
                files.retain(|other, _| directory.path().join(format!("f{other}.yaml")).exists());
            }
            let objects = source.load();
            let now: Vec<String> =
                files.iter().filter_map(|(file, known)| Some(format!("f{file}={}", known.0?))).collect();
            if !now.is_empty() {
                in_force = now;
            }
            let (services, completeness) = found(&objects);
            prop_assert_eq!(&services, &in_force);
            if completeness == Completeness::Nothing {
                prop_assert!(in_force.is_empty());
            } else if !files.is_empty() && files.values().any(|known| known.0.is_some()) {
                let is_whole = files.values().all(|known| known.1);
                prop_assert_eq!(completeness == Completeness::Whole, is_whole);
            }
        }
    }
}
