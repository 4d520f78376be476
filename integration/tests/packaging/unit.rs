//! Checks the systemd unit with `systemd-analyze`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use crate::shipped;

const UNIT: &str = "portolan.service";

fn analyze(arguments: &[&str]) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).output();
    output.unwrap_or_else(|error| panic!("systemd-analyze (Debian's package systemd): {error}"))
}

/// Creates a file system with the unit, the binary, and systemd's own targets.
fn node(directory: &Path, unit: &str) {
    let place = |path: &str| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let binary = place("usr/local/bin/portolan");
    fs::copy(portolan_integration::binary().unwrap(), binary).unwrap();
    fs::write(place("etc/systemd/system/portolan.service"), unit).unwrap();
    for file in fs::read_dir("/usr/lib/systemd/system").unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        if name.ends_with(".target") && file.file_type().unwrap().is_file() {
            fs::copy(file.path(), place(&format!("usr/lib/systemd/system/{name}"))).unwrap();
        }
    }
    symlink("usr/lib", directory.join("lib")).unwrap();
}

fn verify(unit: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    node(directory.path(), unit);
    let output = analyze(&["verify", "--man=no", &format!("--root={}", directory.path().display()), UNIT]);
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let is_fine = output.status.success() && complaints.is_empty();
    if is_fine { Ok(()) } else { Err(complaints) }
}

#[test]
fn systemd_understands_the_unit() {
    let unit = fs::read_to_string(shipped("systemd/portolan.service")).unwrap();
    verify(&unit).unwrap_or_else(|complaints| panic!("{complaints}"));
    let complaints = verify(&unit.replace("NoNewPrivileges", "NoMorePrivileges")).unwrap_err();
    assert!(complaints.contains("NoMorePrivileges"), "a wrong key is noticed: {complaints}");
}

/// systemd's own score, 0 to 100: an unconfined service has 96.
#[test]
fn the_unit_is_confined() {
    let unit = shipped("systemd/portolan.service");
    let output = analyze(&["security", "--offline=true", "--threshold=25", unit.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_unit_has_a_limit_of_memory_that_is_the_daemonset_s() {
    let unit = fs::read_to_string(shipped("systemd/portolan.service")).unwrap();
    let limit = unit.lines().find_map(|line| line.strip_prefix("MemoryMax=")).unwrap();
    let base = crate::kustomize::build("kustomize/base");
    let container = &crate::one(&base, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
    // systemd's suffixes without an `i` are powers of 1024.
    assert_eq!(container["resources"]["limits"]["memory"], format!("{limit}i"));
}
