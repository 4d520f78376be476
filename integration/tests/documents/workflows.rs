//! The workflows, as far as they can be checked without the site that runs them.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::top;

/// Returns each workflow with its path.
fn workflows() -> Vec<(PathBuf, Value)> {
    let entries = fs::read_dir(top().join(".github/workflows")).unwrap();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let workflow =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, workflow)
    };
    entries.map(|entry| read(entry.unwrap().path())).collect()
}

fn jobs(workflow: &Value) -> impl Iterator<Item = (&String, &Value)> {
    workflow["jobs"].as_object().unwrap().iter()
}

fn steps(workflow: &Value) -> impl Iterator<Item = &Value> {
    jobs(workflow).flat_map(|(_, job)| job["steps"].as_array().unwrap())
}

#[test]
fn there_is_one_for_each_purpose() {
    let names: BTreeSet<String> =
        workflows().iter().map(|(_, workflow)| workflow["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["image", "kernels", "lint", "release", "test"].map(String::from).into());
}

#[test]
fn a_job_may_write_only_where_it_says_so() {
    for (path, workflow) in workflows() {
        assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}), "{}", path.display());
        for (name, job) in jobs(&workflow).filter(|(_, job)| job["permissions"].is_object()) {
            assert!(path.ends_with("release.yml"), "{}: {name}: {}", path.display(), job["permissions"]);
        }
    }
}

#[test]
fn actions_are_pinned_by_their_major_version() {
    let mut actions = BTreeSet::new();
    for (path, workflow) in workflows() {
        for action in steps(&workflow).filter_map(|step| step["uses"].as_str()) {
            let version = action.split_once("@v").map_or("", |(_, version)| version);
            assert!(version.parse::<u32>().is_ok(), "{}: {action}", path.display());
            actions.insert(action.to_owned());
        }
    }
    // There is only one version of each action.
    let names: BTreeSet<&str> = actions.iter().map(|action| action.split('@').next().unwrap()).collect();
    assert_eq!(names.len(), actions.len(), "{actions:?}");
}

#[test]
fn targets_and_files_that_are_named_exist() {
    let makefile = fs::read_to_string(top().join("Makefile")).unwrap();
    let mut targets = BTreeSet::new();
    for (path, workflow) in workflows() {
        let commands = steps(&workflow).filter_map(|step| step["run"].as_str());
        for line in commands.flat_map(str::lines) {
            if let Some(target) = line.trim().strip_prefix("make ").and_then(|rest| rest.split(' ').next()) {
                assert!(makefile.contains(&format!("\n{target}: ")), "{}: make {target}", path.display());
                targets.insert(target.to_owned());
            }
        }
        for file in steps(&workflow).filter_map(|step| step["with"]["file"].as_str()) {
            assert!(top().join(file).is_file(), "{}: {file}", path.display());
        }
    }
    assert_eq!(targets, ["advisories", "dist", "lint", "test", "test-kernels"].map(String::from).into());
}

#[test]
fn the_changelog_has_this_version() {
    let text = fs::read_to_string(top().join("CHANGELOG.md")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("\n## [{version}]")), "no section of {version}");
    assert!(text.contains(&format!("\n[{version}]: https://")), "no link of {version}");
}
