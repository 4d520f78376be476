//! Following manifests as they change: every way in which editors, tools and kubelets change files.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use portolan::source::{
    Change,
    manifest::{Objects, Refresh, Source, Watcher},
};
use tempfile::TempDir;

/// The longest time from the last write to the update, on a machine that is not busy.
const PROMPT: Duration = Duration::from_millis(200);
/// The longest time to an update on any machine: well before files are checked without an event.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a file must be unchanged before it is read.
const QUIET: Duration = Duration::from_millis(40);

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: 10.96.0.1\n  ports:\n  - port: {port}\n"
    )
}

fn watch(path: &Path) -> (Watcher, Objects) {
    Source::new([path.to_path_buf()], "node-1").watch()
}

/// Returns the next update.
fn update(watcher: &mut Watcher) -> Refresh {
    let update = watcher.wait(Some(PATIENCE)).unwrap();
    assert!(!update.is_empty(), "no update");
    update
}

fn quiet(watcher: &mut Watcher) {
    let update = watcher.wait(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(update, Refresh::default());
}

/// Returns the changes as text: `web=80` for a Service with this port, `-web` for a removed one.
fn changes(update: &Refresh) -> Vec<String> {
    let changes = update.changes.iter().map(|change| match change {
        Change::Service(name, Some(service)) => format!("{}={}", name.name, service.ports[0].port),
        Change::Service(name, None) => format!("-{}", name.name),
        Change::Slice(name, Some(slice)) => format!("slice {}:{}", name.name, slice.endpoints.len()),
        Change::Slice(name, None) => format!("-slice {}", name.name),
        Change::Node(node) => format!("node {}", node.is_some()),
        Change::Services(_) | Change::Slices(_) => panic!("manifests change one by one"),
        Change::ServiceCidrs(ranges) => format!("ranges {}", ranges.len()),
    });
    changes.collect()
}

fn next_changes(watcher: &mut Watcher) -> Vec<String> {
    let update = update(watcher);
    assert_eq!((&update.errors, &update.warnings), (&vec![], &vec![]));
    changes(&update)
}

/// Waits for these changes; ignores other updates before them.
fn wait_for_changes(watcher: &mut Watcher, expected: &[String]) {
    loop {
        let found = changes(&update(watcher));
        if !found.is_empty() {
            assert_eq!(found, expected);
            return;
        }
    }
}

fn directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("web.yaml");
    fs::write(&file, service("web", 80)).unwrap();
    (directory, file)
}

#[test]
fn files_of_a_directory() {
    let (directory, file) = directory();
    let (mut watcher, objects) = watch(directory.path());
    assert_eq!(objects.services.len(), 1);
    quiet(&mut watcher);

    // Written in place.
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=81"]);
    quiet(&mut watcher);

    // Written elsewhere and renamed over it.
    let new = directory.path().join(".web.yaml.tmp");
    fs::write(&new, service("web", 82)).unwrap();
    quiet(&mut watcher);
    fs::rename(&new, &file).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=82"]);

    // A new file, and a removed one.
    let other = directory.path().join("other.json");
    fs::write(&other, "{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"node-1\"}}")
        .unwrap();
    assert_eq!(next_changes(&mut watcher), ["node true"]);

    // Renamed away and back.
    let away = directory.path().join("web.yaml~");
    fs::rename(&file, &away).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-web"]);
    fs::rename(&away, &file).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=82"]);
    fs::remove_file(&other).unwrap();
    assert_eq!(next_changes(&mut watcher), ["node false"]);

    // Written again with the same content.
    fs::write(&file, service("web", 82)).unwrap();
    quiet(&mut watcher);
}

#[test]
fn changes_are_reported_promptly() {
    let (directory, file) = directory();
    let (mut watcher, _) = watch(directory.path());
    let new = directory.path().join(".web.yaml.tmp");
    let mut best = [Duration::MAX; 3];
    for round in 0..20 {
        let steps: [&dyn Fn(); 3] = [
            &|| fs::write(&file, service("web", 81 + round)).unwrap(),
            &|| {
                fs::write(&new, service("web", 80)).unwrap();
                fs::rename(&new, &file).unwrap();
            },
            &|| fs::remove_file(&file).unwrap(),
        ];
        for (best, step) in best.iter_mut().zip(steps) {
            step();
            let start = Instant::now();
            update(&mut watcher);
            *best = start.elapsed().min(*best);
        }
        // A busy machine may delay some of the attempts, but not all.
        if best.iter().all(|best| *best < PROMPT) {
            return;
        }
    }
    panic!("written in place, renamed and removed: {best:?} at best");
}

#[test]
fn editors_that_remove_and_create_cause_one_change() {
    let (directory, file) = directory();
    let (mut watcher, _) = watch(directory.path());
    fs::rename(&file, directory.path().join("web.yaml~")).unwrap();
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=81"]);
}

#[test]
fn a_single_file() {
    let (directory, file) = directory();
    let (mut watcher, objects) = watch(&file);
    assert_eq!(objects.services.len(), 1);
    // Other files in the directory have no effect.
    fs::write(directory.path().join("other.yaml"), service("other", 80)).unwrap();
    quiet(&mut watcher);
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=81"]);
    fs::rename(directory.path().join("other.yaml"), &file).unwrap();
    assert_eq!(
        next_changes(&mut watcher),
        ["-web", "other=80"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    // A missing path from the command line is an error, as at a start, and removes nothing.
    fs::remove_file(&file).unwrap();
    let gone = update(&mut watcher);
    assert_eq!(changes(&gone), Vec::<String>::new());
    assert_eq!(gone.errors.len(), 1);
    fs::write(&file, service("web", 82)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-other", "web=82"]);
}

#[test]
fn a_mounted_config_map() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let version = |name: &str, port: u16, extra: bool| {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("web.yaml"), service("web", port)).unwrap();
        if extra {
            fs::write(at(name).join("extra.yaml"), service("extra", port)).unwrap();
        }
    };
    version("..v1", 80, false);
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/web.yaml", at("web.yaml")).unwrap();
    let (mut watcher, objects) = watch(directory.path());
    assert_eq!(objects.services.len(), 1);
    let (mut file_watcher, objects) = watch(&at("web.yaml"));
    assert_eq!(objects.services.len(), 1);

    // The steps of the kubelet's atomic writer.
    version("..v2", 81, true);
    symlink("..v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    symlink("..data/extra.yaml", at("extra.yaml")).unwrap();
    fs::remove_dir_all(at("..v1")).unwrap();
    assert_eq!(next_changes(&mut watcher), ["extra=81", "web=81"]);
    assert_eq!(next_changes(&mut file_watcher), ["web=81"]);

    // Once more: the watches followed the links.
    version("..v3", 82, false);
    symlink("..v3", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_file(at("extra.yaml")).unwrap();
    fs::remove_dir_all(at("..v2")).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-extra", "web=82"]);
    quiet(&mut watcher);
}

#[test]
fn targets_of_links_outside() {
    let (target, file) = directory();
    let directory = TempDir::new().unwrap();
    symlink(&file, directory.path().join("link.yaml")).unwrap();
    let (mut watcher, objects) = watch(directory.path());
    assert_eq!(objects.services.len(), 1);
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=81"]);
    // A dangling link is a file that cannot be read.
    drop(target);
    let broken = update(&mut watcher);
    assert_eq!((changes(&broken), broken.errors.len()), (Vec::new(), 1), "{:?}", broken.errors);
    fs::write(directory.path().join("other.yaml"), service("other", 80)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["other=80"]);
    fs::remove_file(directory.path().join("link.yaml")).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-web"]);
}

#[test]
fn a_directory_that_comes_and_goes() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("manifests");
    let (mut watcher, objects) = watch(&directory);
    assert_eq!(objects.errors.len(), 1);
    for port in [80, 81] {
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("web.yaml"), service("web", port)).unwrap();
        wait_for_changes(&mut watcher, &[format!("web={port}")]);
        fs::write(directory.join("web.yaml"), service("web", port + 10)).unwrap();
        assert_eq!(next_changes(&mut watcher), [format!("web={}", port + 10)]);
        fs::remove_dir_all(&directory).unwrap();
        // The directory is gone, or empty for a moment before that.
        let gone = update(&mut watcher);
        assert_eq!((changes(&gone), gone.errors.len()), (Vec::new(), 1), "{:?}", gone.errors);
    }
}

#[test]
fn half_written_files_change_nothing_and_are_reported_once() {
    let (directory, file) = directory();
    fs::write(&file, service("web", 80) + "---\n" + &service("other", 80)).unwrap();
    let (mut watcher, _) = watch(directory.path());
    let half = "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {";
    for broken in [half, "\tx", "just text", "kind: Service\n", "", "  \n"] {
        fs::write(&file, broken).unwrap();
        let update = update(&mut watcher);
        assert_eq!(changes(&update), Vec::<String>::new(), "{broken:?}");
        assert_eq!(update.errors.len(), 1, "{broken:?}: {:?}", update.errors);
        assert!(update.errors[0].to_string().contains("web.yaml"), "{}", update.errors[0]);
        fs::write(&file, broken).unwrap();
        quiet(&mut watcher);
        fs::write(&file, service("web", 80) + "---\n" + &service("other", 80)).unwrap();
        quiet(&mut watcher);
    }
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-other", "web=81"]);
}

#[test]
fn a_file_counts_as_a_whole() {
    let (directory, file) = directory();
    fs::write(&file, service("bad", 80) + "---\n" + &service("good", 80)).unwrap();
    let (mut watcher, _) = watch(directory.path());
    fs::write(&file, service("bad", 0) + "---\n" + &service("good", 81)).unwrap();
    let first = update(&mut watcher);
    assert_eq!(changes(&first), Vec::<String>::new());
    let prefix = format!("{}: Service default/bad: spec.ports[0].port: 0 is not", file.display());
    assert_eq!(first.errors.len(), 1);
    assert!(first.errors[0].to_string().starts_with(&prefix), "{}", first.errors[0]);

    // Another change of the file does not repeat the report, and does not delay another file.
    fs::write(&file, service("bad", 0) + "---\n" + &service("good", 82)).unwrap();
    quiet(&mut watcher);
    fs::write(directory.path().join("other.yaml"), service("other", 80)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["other=80"]);

    // Once the file has no error, all of its objects are used.
    fs::write(&file, service("good", 82)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-bad", "good=82"]);
}

/// Writes a file line by line; returns the longest pause between two lines, and the time of the last write.
fn write_slowly(path: &Path, text: &str) -> (Duration, Instant) {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path).unwrap();
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    for line in text.lines() {
        thread::sleep(Duration::from_millis(10));
        writeln!(file, "{line}").unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    (longest, last)
}

#[test]
fn a_file_is_read_when_its_writer_pauses_and_not_before() {
    for _ in 0..100 {
        let (directory, file) = directory();
        let (mut watcher, _) = watch(directory.path());
        let writer = thread::spawn(move || write_slowly(&file, &service("web", 81)));
        let update = watcher.wait(Some(PATIENCE)).unwrap();
        let told = Instant::now();
        let (longest, last) = writer.join().unwrap();
        // On a busy machine the writer or this thread may have paused: then the test tries again.
        if longest >= QUIET {
            continue;
        }
        assert_eq!((changes(&update), update.errors), (vec!["web=81".to_owned()], vec![]));
        if told - last < PROMPT {
            return;
        }
    }
    panic!("it was never read within {PROMPT:?} of the last line");
}

#[test]
fn a_file_that_is_always_written_delays_no_other() {
    let (directory, file) = directory();
    let busy = directory.path().join("busy.yaml");
    let (mut watcher, _) = watch(directory.path());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let writer = thread::spawn(move || {
        let mut busy = File::create(busy).unwrap();
        while !stopped.load(Ordering::Relaxed) {
            writeln!(busy, "# still busy").unwrap();
            thread::sleep(Duration::from_millis(5));
        }
    });
    thread::sleep(Duration::from_millis(100));
    fs::write(&file, service("web", 81)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=81"]);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[test]
fn the_last_of_several_files_counts_while_it_is_there() {
    let (directory, _) = directory();
    let (mut watcher, _) = watch(directory.path());
    let later = directory.path().join("zz.yaml");
    fs::write(&later, service("web", 81)).unwrap();
    let update = update(&mut watcher);
    assert_eq!(changes(&update), ["web=81"]);
    assert_eq!(update.warnings.len(), 1, "{:?}", update.warnings);
    fs::write(&later, service("web", 82)).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=82"]);
    // A change of the file that is not in force has no effect.
    fs::write(directory.path().join("web.yaml"), service("web", 90)).unwrap();
    quiet(&mut watcher);
    fs::remove_file(&later).unwrap();
    assert_eq!(next_changes(&mut watcher), ["web=90"]);
}

#[test]
fn pods_that_change_change_endpoints() {
    let directory = TempDir::new().unwrap();
    let service = service("web", 80) + "  selector: {app: web}\n";
    fs::write(directory.path().join("web.yaml"), service).unwrap();
    let pod = |name: &str, ip: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: web}}}}\nstatus: {{podIP: {ip}}}\n"
        );
        fs::write(directory.path().join(format!("pod-{name}.yaml")), text).unwrap();
    };
    pod("a", "10.0.0.1");
    let (mut watcher, objects) = watch(directory.path());
    assert_eq!(objects.slices.len(), 1);
    pod("b", "10.0.0.2");
    assert_eq!(next_changes(&mut watcher), ["slice web:ipv4:=80:2"]);
    pod("b", "10.0.0.3");
    assert_eq!(next_changes(&mut watcher), ["slice web:ipv4:=80:2"]);

    // A slice of the Service replaces the derived endpoints until it is removed.
    let slice = directory.path().join("slice.yaml");
    fs::write(
        &slice,
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}\n\
         ports: [{port: 80}]\nendpoints: [{addresses: [10.0.0.9]}]\n",
    )
    .unwrap();
    assert_eq!(next_changes(&mut watcher), ["slice web-1:1", "-slice web:ipv4:=80"]);
    pod("b", "10.0.0.4");
    quiet(&mut watcher);
    fs::remove_file(&slice).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-slice web-1", "slice web:ipv4:=80:2"]);
    fs::remove_file(directory.path().join("pod-a.yaml")).unwrap();
    fs::remove_file(directory.path().join("pod-b.yaml")).unwrap();
    assert_eq!(next_changes(&mut watcher), ["-slice web:ipv4:=80"]);
}

#[test]
fn relative_paths_work() {
    // A path below the current directory, which the test does not change because all threads share it.
    let directory = tempfile::tempdir_in(".").unwrap();
    let relative = PathBuf::from(directory.path().file_name().unwrap());
    let file = relative.join("web.yaml");
    fs::write(&file, service("web", 80)).unwrap();
    for path in [&relative, &file] {
        let (mut watcher, objects) = watch(path);
        assert_eq!(objects.services.len(), 1);
        fs::write(&file, service("web", 81)).unwrap();
        assert_eq!(next_changes(&mut watcher), ["web=81"]);
        fs::write(&file, service("web", 80)).unwrap();
    }
}

#[test]
fn standard_input_is_read_once() {
    let (directory, file) = directory();
    let text = service("typed", 80);
    let source = Source::new(["-".into(), directory.path().to_path_buf()], "node-1")
        .with_stdin(std::io::Cursor::new(text));
    let (mut watcher, objects) = source.watch();
    assert_eq!(objects.services.len(), 2);
    fs::write(&file, service("web", 81)).unwrap();
    // The watcher can be moved to another thread.
    let thread = thread::spawn(move || next_changes(&mut watcher));
    assert_eq!(thread.join().unwrap(), ["web=81"]);
}
