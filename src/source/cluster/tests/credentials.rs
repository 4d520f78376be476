//! Credentials that other programs replace.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use kube::Config;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::source::cluster::credentials::{Credentials, PluginTimes};
use serde_json::{Value, json};

/// Long enough for any machine; reached only by a test that fails.
const LONG: Duration = Duration::from_secs(30);

const TIMES: PluginTimes =
    PluginTimes { limit: Duration::from_millis(500), pause: Duration::from_millis(20) };

/// An exec plugin that a test rewrites.
struct Plugin {
    directory: TempDir,
}

impl Plugin {
    fn new(script: &str) -> Self {
        let plugin = Self { directory: TempDir::new().unwrap() };
        plugin.write(script);
        plugin
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("login")
    }

    /// Renamed into place: a file that is being written cannot be run.
    fn write(&self, script: &str) {
        let new = self.directory.path().join("new");
        let runs = self.runs_file();
        fs::write(&new, format!("#!/bin/sh\necho $$ >> {}\n{script}\n", runs.display())).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    fn gives(&self, token: &str, expires: Option<&str>) {
        self.write(&format!("echo '{}'", credential(token, expires)));
    }

    fn runs_file(&self) -> PathBuf {
        self.directory.path().join("runs")
    }

    /// The ids of the processes that ran the plugin.
    fn runs(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.runs_file()).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    async fn credentials(&self) -> Credentials {
        let mut config = Config::new("https://192.0.2.1:6443".parse().unwrap());
        config.auth_info.exec = serde_json::from_value(json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": self.path(),
            "interactiveMode": "Never",
        }))
        .unwrap();
        Credentials::with_times(config, TIMES).await.unwrap()
    }
}

fn credential(token: &str, expires: Option<&str>) -> Value {
    json!({"kind": "ExecCredential", "status": {"token": token, "expirationTimestamp": expires}})
}

fn token(credentials: &Credentials) -> String {
    let began = Instant::now();
    let (_, header) = credentials.current();
    assert!(began.elapsed() < Duration::from_secs(10), "a request waits");
    header.unwrap().to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_holds_up_no_request_and_leaves_nothing_behind() {
    let plugin = Plugin::new(&format!("echo '{}'", credential("first", Some("2020-01-01T00:00:00Z"))));
    let credentials = plugin.credentials().await;
    assert_eq!(token(&credentials), "first");
    plugin.write("sleep 1000 & wait");
    let runs = plugin.runs().len();
    until("it is run again and again", || plugin.runs().len() >= runs + 4).await;
    assert_eq!(token(&credentials), "first");
    // All but the last, which may be running.
    let past = plugin.runs();
    let past = &past[..past.len() - 1];
    until("it is killed", || !past.iter().any(|pid| is_running(*pid))).await;
    plugin.gives("second", Some("2100-01-01T00:00:00Z"));
    until("what it gives is used", || token(&credentials) == "second").await;
}

fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains("(login) S") || stat.contains("(login) R")
}

#[tokio::test]
async fn a_plugin_is_run_anew_when_the_server_refuses_what_it_gave() {
    let plugin = Plugin::new(&format!("echo '{}'", credential("first", None)));
    let credentials = plugin.credentials().await;
    plugin.gives("second", None);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(token(&credentials), "first", "it has no reason to");
    credentials.refused();
    until("it is run anew", || token(&credentials) == "second").await;
    let runs = plugin.runs().len();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(plugin.runs().len(), runs, "once");
}
