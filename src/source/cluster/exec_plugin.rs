//! Exec plugins: programs of cloud providers that return credentials (`users[].user.exec` of a kubeconfig,
//! `ExecCredential` of `client.authentication.k8s.io`).
//!
//! kube can run plugins too, but without a timeout, on a thread that stays blocked, and while every request waits.

use std::{fmt, io, process::Stdio, time::Duration};

use http::HeaderValue;
use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::connect::bearer;

/// Longest output that is read.
const LONGEST_OUTPUT: u64 = 1 << 20;

/// A plugin and its configuration.
pub(super) struct Plugin {
    exec: ExecConfig,
    command: String,
}

/// The credentials of a plugin.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Credential {
    /// `Authorization` of requests.
    pub token: Option<HeaderValue>,
    /// Certificate and key of the client, PEM.
    pub identity: Option<(String, String)>,
    /// When both expire.
    pub expires: Option<Timestamp>,
}

/// The part of an `ExecCredential` that matters.
#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    /// A plugin that a kubeconfig names.
    ///
    /// # Errors
    /// The command is missing, or needs a terminal. The error is one line that names the plugin.
    pub fn new(exec: ExecConfig) -> Result<Self, String> {
        let plugin = Self { command: exec.command.clone().unwrap_or_default(), exec };
        if plugin.command.is_empty() {
            return Err(plugin.error("there is no command"));
        }
        if plugin.exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(plugin.error("interactiveMode: Always needs a terminal"));
        }
        Ok(plugin)
    }

    /// Runs the plugin for at most this long.
    ///
    /// # Errors
    /// The plugin cannot be started, fails, returns no credentials, or takes longer. If it takes longer, it is killed
    /// with all processes that it started. The error is one line that names the plugin.
    pub async fn run(&self, limit: Duration) -> Result<Credential, String> {
        let output = self.output(limit).await;
        output.and_then(|output| parse(&output)).map_err(|reason| self.error(&reason))
    }

    fn error(&self, text: &str) -> String {
        let reason = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        format!("exec plugin {:?}: {reason}", self.command)
    }

    async fn output(&self, limit: Duration) -> Result<Vec<u8>, String> {
        let exec = &self.exec;
        let mut spec = json!({ "interactive": false });
        if let Some(cluster) = exec.cluster.as_ref().filter(|_| exec.provide_cluster_info) {
            spec["cluster"] = serde_json::to_value(cluster).map_err(|error| error.to_string())?;
        }
        let info = json!({ "apiVersion": exec.api_version, "kind": "ExecCredential", "spec": spec });
        let mut command = Command::new(&self.command);
        command
            .args(exec.args.iter().flatten())
            .envs(exec.env.iter().flatten().filter_map(|env| Some((env.get("name")?, env.get("value")?))))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A new process group, so that the processes that the plugin starts can be killed with it.
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let hint = exec.install_hint.as_deref().filter(|_| error.kind() == io::ErrorKind::NotFound);
            let hint = hint.and_then(|hint| hint.lines().map(str::trim).find(|line| !line.is_empty()));
            hint.map_or_else(|| error.to_string(), |hint| format!("{error}: {hint}"))
        })?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (output, complaints) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::join!(read(output), read(complaints), child.wait()) };
        let Ok((output, complaints, status)) = timeout(limit, ended).await else {
            if let Some(group) = group {
                // The plugin may have ended just now.
                let _ = kill_process_group(group, Signal::KILL);
            }
            return Err(format!("has not ended after {limit:?}, and was killed"));
        };
        let status = status.map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(output);
        }
        let complaints = String::from_utf8_lossy(&complaints).into_owned();
        let last = complaints.lines().map(str::trim).rfind(|line| !line.is_empty());
        Err(last.map_or_else(|| status.to_string(), |last| format!("{status}: {last}")))
    }
}

/// The output of a pipe until its end, up to a bound.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // The output before an error is more useful than the error.
        let _ = pipe.take(LONGEST_OUTPUT).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Reads an `ExecCredential` in JSON or YAML, as client-go does.
fn parse(output: &[u8]) -> Result<Credential, String> {
    let refuse = |reason: &dyn fmt::Display| format!("gave no ExecCredential: {reason}");
    let text = std::str::from_utf8(output).map_err(|error| refuse(&error))?;
    let credential: ExecCredential = serde_saphyr::from_str(text).map_err(|error| refuse(&error))?;
    let status = credential.status.ok_or_else(|| refuse(&"it has no status"))?;
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let token = given(status.token).map(|token| bearer(token.trim()).ok_or("gave an invalid token"));
    let expires = given(status.expiration_timestamp).map(|time| time.trim().parse());
    let credential = Credential {
        token: token.transpose()?,
        identity: given(status.client_certificate_data).zip(given(status.client_key_data)),
        expires: expires.transpose().map_err(|error| refuse(&error))?,
    };
    if credential.token.is_none() && credential.identity.is_none() {
        return Err("gave neither a token nor a client certificate with its key".to_owned());
    }
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn plugin(command: &str, arguments: &[&str]) -> Plugin {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command,
            "args": arguments,
            "env": [{"name": "GREETING", "value": "hello"}],
            "installHint": "\n  install it with apt\n",
            "interactiveMode": "IfAvailable",
        });
        Plugin::new(serde_json::from_value(exec).unwrap()).unwrap()
    }

    fn shell(script: &str) -> Plugin {
        plugin("/bin/sh", &["-c", script])
    }

    async fn error(plugin: &Plugin) -> String {
        let text = plugin.run(LONG).await.unwrap_err();
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    #[tokio::test]
    async fn a_plugin_gets_what_client_go_gives_it() {
        let script = r#"printf '{"status": {"token": "%s", "expirationTimestamp": "2030-01-01T00:00:00Z"}}' \
            "$GREETING-$(printf %s "$KUBERNETES_EXEC_INFO" | tr -d '{}"\n')""#;
        let credential = shell(script).run(LONG).await.unwrap();
        let token = credential.token.unwrap();
        assert!(token.is_sensitive());
        let token = token.to_str().unwrap();
        assert!(token.starts_with("Bearer hello-"), "{token}");
        for part in ["apiVersion:client.authentication.k8s.io/v1", "kind:ExecCredential", "interactive:false"]
        {
            assert!(token.contains(part), "{token}");
        }
        assert_eq!(credential.expires, Some("2030-01-01T00:00:00Z".parse().unwrap()));
        let yaml = shell("printf 'status:\\n  clientCertificateData: c\\n  clientKeyData: k\\n'");
        let credential = yaml.run(LONG).await.unwrap();
        assert_eq!(credential.identity, Some(("c".to_owned(), "k".to_owned())));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_plugin_is_one_line_that_names_it() {
        let missing = error(&plugin("/none/login", &[])).await;
        assert!(missing.starts_with("exec plugin \"/none/login\": No such file or directory"), "{missing}");
        assert!(missing.ends_with(": install it with apt"), "{missing}");
        for (script, reason) in [
            ("echo first >&2; echo 'not logged in' >&2; exit 3", "exit status: 3: not logged in"),
            ("exit 4", "exit status: 4"),
            ("echo hello", "gave no ExecCredential: "),
            ("echo '{}'", "gave no ExecCredential: it has no status"),
            ("echo '{\"status\": {}}'", "gave neither a token nor a client certificate with its key"),
            ("printf '{\"status\": {\"token\": \"a\\\\u0001b\"}}'", "gave an invalid token"),
        ] {
            let text = error(&shell(script)).await;
            assert!(text.starts_with("exec plugin \"/bin/sh\": ") && text.contains(reason), "{text}");
        }
        let exec =
            serde_json::from_value(json!({ "command": "login", "interactiveMode": "Always" })).unwrap();
        let text = Plugin::new(exec).err().unwrap();
        assert_eq!(text, "exec plugin \"login\": interactiveMode: Always needs a terminal");
    }

    #[tokio::test]
    async fn output_without_end_is_given_up() {
        let text = error(&shell("exec cat /dev/zero")).await;
        assert!(text.contains("exec plugin"), "{text}");
    }

    /// The process that the plugin started, which holds its pipes open, is killed too.
    #[tokio::test]
    async fn a_plugin_that_hangs_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("echo $$ >> {0}; sleep 1000 & echo $! >> {0}; wait", pids.display());
        let plugin = shell(&script);
        let began = Instant::now();
        let count = loop {
            let text = plugin.run(Duration::from_millis(500)).await.unwrap_err();
            assert_eq!(text, "exec plugin \"/bin/sh\": has not ended after 500ms, and was killed");
            // Again, if the machine was too slow for the script to write both.
            let count = fs::read_to_string(&pids).unwrap_or_default().lines().count();
            if count >= 2 || began.elapsed() > LONG {
                break count;
            }
        };
        assert!(count >= 2);
        for pid in fs::read_to_string(&pids).unwrap().lines() {
            let is_there = || {
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.contains("sleep") || stat.contains("(sh)")
            };
            while is_there()
                && !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default().contains(") Z ")
            {
                assert!(began.elapsed() < LONG, "{pid} is still there");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
