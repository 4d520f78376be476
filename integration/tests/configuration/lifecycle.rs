//! What `run` does besides programming nftables, and how it follows its configuration file.

use std::{fs, os::unix::fs::symlink, time::SystemTime};

use crate::process::{HEAD, Running, TestFile, conntrack, enter_namespace, nft, portolan, ruleset};

/// Starts an agent on a directory of manifests without objects.
fn run(file: &str, manifests: &tempfile::TempDir) -> Running {
    let manifests = manifests.path().to_str().unwrap();
    let mut agent = Running::start(&["run", "-f", manifests, "--allow-empty", "--config", file]);
    agent.wait_for("In sync: ");
    agent
}

#[test]
fn a_changed_file_ends_the_agent_and_the_rules_stay() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let file = TestFile::new(&format!("{HEAD}clusterCIDR: 10.0.0.0/8\n"));
    let mut agent = run(&file.name(), &manifests);

    // Comments and explicit default values change nothing.
    file.write(&format!("# hello\n{HEAD}clusterCIDR: 10.0.0.0/8\nmode: nftables\n"));
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(agent.is_running(), "{}", agent.stderr());

    file.write(&format!("{HEAD}clusterCIDR: 172.16.0.0/12\nconntrack:\n  min: 5\n"));
    let status = agent.wait();
    assert_eq!(status.code(), Some(1), "{}", agent.stderr());
    let stderr = agent.stderr();
    let changed = |line: &&str| line.contains("changed; exiting") && line.contains(&file.name());
    assert_eq!(stderr.lines().filter(changed).count(), 1, "{stderr}");
    assert!(stderr.contains(r#"clusterCIDR: \"10.0.0.0/8\" → \"172.16.0.0/12\""#), "{stderr}");
    assert!(stderr.contains("conntrack.min: 131072 → 5"), "{stderr}");
    assert!(ruleset().contains("portolan"));
}

#[test]
fn a_file_that_cannot_be_used_or_is_gone_leaves_the_agent_alone() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let file = TestFile::new(HEAD);
    let mut agent = run(&file.name(), &manifests);
    file.write(&format!("{HEAD}clusterCIDR: 10.0.0.0\n"));
    agent.wait_for("cannot be used; continuing");
    agent.wait_for("clusterCIDR: ");
    fs::remove_file(file.path()).unwrap();
    agent.wait_for("is gone");
    file.write(HEAD);
    agent.wait_for("is valid again");
    assert!(agent.is_running());
    assert_eq!(agent.terminate().code(), Some(0), "{}", agent.stderr());
}

#[test]
fn a_link_that_a_config_map_swaps_is_a_change() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    let put = |version: &str, body: &str| {
        fs::create_dir(volume.path().join(version)).unwrap();
        fs::write(volume.path().join(version).join("config.conf"), format!("{HEAD}{body}")).unwrap();
        symlink(version, volume.path().join("..data_tmp")).unwrap();
        fs::rename(volume.path().join("..data_tmp"), volume.path().join("..data")).unwrap();
    };
    put("..1", "");
    symlink("..data/config.conf", volume.path().join("config.conf")).unwrap();
    let mut agent = run(volume.path().join("config.conf").to_str().unwrap(), &manifests);
    put("..2", "nftables:\n  masqueradeAll: true\n");
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.stderr());
    assert!(agent.stderr().contains("nftables.masqueradeAll: false → true"), "{}", agent.stderr());
}

#[test]
fn a_file_in_a_directory_that_goes_and_comes_back_is_followed() {
    enter_namespace();
    let (manifests, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (inner, aside) = (directory.path().join("a/b"), directory.path().join("b"));
    let file = inner.join("config.conf");
    fs::create_dir_all(&inner).unwrap();
    fs::write(&file, HEAD).unwrap();
    let mut agent = run(file.to_str().unwrap(), &manifests);
    fs::remove_dir_all(inner.parent().unwrap()).unwrap();
    agent.wait_for("it is gone");
    fs::create_dir_all(&inner).unwrap();
    fs::write(&file, HEAD).unwrap();
    agent.wait_for("is valid again");
    // Another directory takes its place.
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("config.conf"), format!("{HEAD}clusterCIDR: 10.0.0.0/8\n")).unwrap();
    fs::rename(&inner, directory.path().join("away")).unwrap();
    fs::rename(&aside, &inner).unwrap();
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.stderr());
    assert!(agent.stderr().contains("clusterCIDR: nothing → "), "{}", agent.stderr());
}

#[test]
fn files_are_followed_where_nothing_can_be_watched() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let file = TestFile::new(&format!("{HEAD}healthzBindAddress: 127.0.0.1:10256\n"));
    let path = manifests.path().to_str().unwrap();
    let mut agent =
        Running::start_without_inotify(&["run", "-f", path, "--allow-empty", "--config", &file.name()]);
    agent.wait_for("Configuration file cannot be watched, so it is checked every second");
    agent.wait_for("cannot be watched, so it is checked every second: ");
    agent.wait_for("In sync: ");
    fs::write(manifests.path().join("broken.yaml"), "kind: [\n").unwrap();
    agent.wait_for("broken.yaml");
    file.write(&format!("{HEAD}clusterCIDR: 10.0.0.0/8\n"));
    assert_eq!(agent.wait().code(), Some(1), "{}", agent.stderr());
}

#[test]
fn init_only_sets_what_was_asked_for_and_nothing_else() {
    enter_namespace();
    // The limit itself belongs to the machine: it can be set only from the initial namespace.
    let flags =
        ["--conntrack-max-per-core=0", "--conntrack-udp-timeout=44s", "--conntrack-udp-timeout-stream=1m30s"];
    let liberal = ["--conntrack-tcp-be-liberal", "--conntrack-tcp-timeout-close-wait=0"];
    let close_wait = conntrack("tcp_timeout_close_wait");
    let outcome = portolan(&[&["run", "--init-only"], &flags[..], &liberal].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(conntrack("tcp_timeout_established"), "86400");
    assert_eq!(conntrack("tcp_timeout_close_wait"), close_wait);
    assert_eq!(conntrack("udp_timeout"), "44");
    assert_eq!(conntrack("udp_timeout_stream"), "90");
    assert_eq!(conntrack("tcp_be_liberal"), "1");
    assert_eq!(ruleset(), "");
    // Correct values are neither written nor reported again.
    let outcome = portolan(&[&["run", "--init-only"], &flags[..], &liberal].concat());
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
}

#[test]
fn init_only_fails_where_it_cannot_do_all_of_it() {
    enter_namespace();
    let max: u64 = conntrack("max").parse().unwrap();
    let min = format!("--conntrack-min={}", max + 1);
    let outcome = portolan(&["run", "--init-only", "--conntrack-max-per-core=1", &min]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    assert!(
        outcome.stderr.contains(&format!("cannot set nf_conntrack_max to {} (it is {max})", max + 1)),
        "{outcome:?}"
    );
}

#[test]
fn a_container_without_privileges_forgives_defaults_but_not_wishes() {
    enter_namespace();
    let kubeconfig = TestFile::new(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n",
    );
    let established = conntrack("tcp_timeout_established");
    let run =
        ["run", "--kubeconfig", &kubeconfig.name(), "--healthz-bind-address=", "--metrics-bind-address="];
    let mut agent = Running::start_in_container(&run);
    agent.wait_for("Defaults of connection tracking are not in force; `portolan run --init-only` sets them");
    assert!(agent.stderr().contains("cannot set nf_conntrack_tcp_timeout_established to 86400"));
    drop(agent);
    assert_eq!(conntrack("tcp_timeout_established"), established);

    let mut agent = Running::start_in_container(&[&run[..], &["--conntrack-udp-timeout=44s"]].concat());
    assert_eq!(agent.wait().code(), Some(1));
    let refusals = agent
        .stderr()
        .lines()
        .filter(|line| line.starts_with("portolan: "))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    assert_eq!(refusals.len(), 1, "{}", agent.stderr());
    assert!(refusals[0].contains("cannot set nf_conntrack_udp_timeout to 44 (it is 30): "), "{refusals:?}");
    assert!(refusals[0].contains("--init-only"), "{refusals:?}");
    assert_eq!(ruleset(), "");

    // Values that an init container has set need no privilege.
    let flags = ["--conntrack-max-per-core=0", "--conntrack-udp-timeout=44s"];
    assert_eq!(portolan(&[&["run", "--init-only"], &flags[..]].concat()).code, Some(0));
    let manifests = tempfile::tempdir().unwrap();
    let once = ["run", "--once", "--allow-empty", "-f", manifests.path().to_str().unwrap()];
    let mut agent = Running::start_in_container(&[&once[..], &flags].concat());
    assert_eq!(agent.wait().code(), Some(0), "{}", agent.stderr());
}

#[test]
fn manifests_leave_connection_tracking_alone_by_default() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let established = conntrack("tcp_timeout_established");
    let once = ["run", "--once", "--allow-empty", "-f", manifests.path().to_str().unwrap()];
    assert_eq!(portolan(&once).code, Some(0));
    assert_eq!(conntrack("tcp_timeout_established"), established);
    let outcome = portolan(&[&once[..], &["--conntrack-tcp-timeout-established=2h"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(conntrack("tcp_timeout_established"), "7200");
}

#[test]
fn cleanup_removes_the_tables_of_the_name_and_no_others() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    let once = ["run", "--once", "--allow-empty", "-f", manifests.path().to_str().unwrap()];
    assert_eq!(portolan(&once).code, Some(0));
    assert_eq!(portolan(&[&once[..], &["--table-name=edge"]].concat()).code, Some(0));
    for family in ["ip", "ip6"] {
        nft(&["add", "table", family, "kube-proxy"]);
        nft(&["add", "chain", family, "kube-proxy", "services"]);
        nft(&["add", "table", family, "other"]);
    }
    let tables = || nft(&["list", "tables"]).lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(tables().len(), 8);
    assert_eq!(portolan(&["run", "--cleanup"]).code, Some(0));
    assert!(!tables().iter().any(|table| table.ends_with(" portolan")), "{:?}", tables());
    assert_eq!(portolan(&["cleanup", "--table-name=edge"]).code, Some(0));
    assert_eq!(
        tables(),
        ["table ip kube-proxy", "table ip other", "table ip6 kube-proxy", "table ip6 other"]
            .map(str::to_owned)
    );
    assert_eq!(portolan(&["cleanup", "--kube-proxy"]).code, Some(0));
    assert_eq!(tables(), ["table ip other", "table ip6 other"].map(str::to_owned));
    // It also succeeds when there is nothing left to remove.
    assert_eq!(portolan(&["cleanup", "--kube-proxy"]).code, Some(0));
    assert_eq!(portolan(&["cleanup", "--table-name=a b"]).code, Some(1));
}

#[test]
fn log_lines_are_json_if_asked_for() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    fs::write(manifests.path().join("broken.yaml"), "kind: [\n").unwrap();
    let path = manifests.path().to_str().unwrap();
    let outcome = portolan(&["run", "--once", "-f", path, "--logging-format=json", "--profiling"]);
    let lines: Vec<serde_json::Value> =
        outcome.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let with = |text: &str| {
        let found = lines.iter().find(|line| line["msg"].as_str().is_some_and(|msg| msg.contains(text)));
        found.unwrap_or_else(|| panic!("no {text:?} in {lines:?}"))
    };
    let read = with("Manifests read");
    assert_eq!(read["v"], 0);
    assert_eq!(read["endpointSlices"], 0);
    assert!(read["caller"].as_str().unwrap().starts_with("run.rs:"), "{read}");
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() * 1000.0;
    assert!((0.0..600_000.0).contains(&(now - read["ts"].as_f64().unwrap())), "{read}");
    let broken = with("Manifest cannot be used");
    assert!(broken.get("v").is_none());
    assert!(broken["err"].as_str().unwrap().contains("broken.yaml"), "{broken}");
    assert_eq!(with("Without effect here")["v"], 0);
}

#[test]
fn the_oom_score_is_set() {
    enter_namespace();
    let manifests = tempfile::tempdir().unwrap();
    // Raising the score needs no privilege.
    let path = manifests.path().to_str().unwrap();
    let mut agent = Running::start(&[
        "run",
        "-f",
        path,
        "--allow-empty",
        "--oom-score-adj=321",
        "--healthz-bind-address=",
    ]);
    agent.wait_for("In sync: ");
    let score = fs::read_to_string(format!("/proc/{}/oom_score_adj", agent.id())).unwrap();
    assert_eq!(score.trim(), "321");
    assert_eq!(agent.terminate().code(), Some(0));
}
