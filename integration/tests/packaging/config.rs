//! The ConfigMap: the agent finds its configuration and its kubeconfig, and the probes find the agent.

use std::{fs, process::Command};

use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec};
use kube::config::Kubeconfig;
use serde_json::Value;

use crate::{bundles, configuration, one};

const DIRECTORY: &str = "/var/lib/kube-proxy";

/// One bundle's pods and their ConfigMap.
struct Given {
    bundle: &'static str,
    pod: PodSpec,
    config_map: ConfigMap,
}

impl Given {
    fn all() -> Vec<Self> {
        let given = |(bundle, objects): (&'static str, Vec<Value>)| {
            let pod = one(&objects, "DaemonSet")["spec"]["template"]["spec"].clone();
            let config_map = configuration(&objects).clone();
            Self {
                bundle,
                pod: serde_json::from_value(pod).unwrap(),
                config_map: serde_json::from_value(config_map).unwrap(),
            }
        };
        bundles().into_iter().map(given).collect()
    }

    /// Returns the file that a container sees at this path of a mounted ConfigMap.
    fn file(&self, container: &Container, path: &str) -> &str {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let (key, mount) = mounts
            .iter()
            .find_map(|mount| match mount.sub_path.as_deref() {
                Some(key) if mount.mount_path == path => Some((key, mount)),
                None => Some((path.strip_prefix(&format!("{}/", mount.mount_path))?, mount)),
                Some(_) => None,
            })
            .unwrap_or_else(|| panic!("{}: nothing is mounted at {path}", self.bundle));
        assert_eq!(mount.read_only, Some(true), "{}", self.bundle);
        let volumes = self.pod.volumes.as_deref().unwrap_or_default();
        let volume = volumes.iter().find(|volume| volume.name == mount.name).expect("the volume exists");
        let name = &volume.config_map.as_ref().expect("it is a ConfigMap volume").name;
        assert_eq!(Some(name.as_str()), self.config_map.metadata.name.as_deref(), "{}", self.bundle);
        self.config_map.data.as_ref().and_then(|data| data.get(key)).expect("the ConfigMap has it")
    }

    fn agent(&self) -> &Container {
        &self.pod.containers[0]
    }

    /// Returns the agent's flags besides `--config` and `--hostname-override`.
    fn flags(&self) -> impl Iterator<Item = &String> {
        let known = |word: &String| word.starts_with("--config=") || word.starts_with("--hostname-override=");
        self.agent().command.iter().flatten().skip(2).filter(move |word| !known(word))
    }

    /// Returns `config.conf`, at the path in the command line.
    fn config(&self) -> Value {
        serde_saphyr::from_str(self.config_text()).unwrap()
    }

    fn config_text(&self) -> &str {
        let flag = format!("--config={DIRECTORY}/config.conf");
        let init = self.pod.init_containers.iter().flatten();
        let texts: Vec<_> = std::iter::once(self.agent())
            .chain(init)
            .map(|container| {
                assert!(container.command.iter().flatten().any(|word| *word == flag), "{}", self.bundle);
                self.file(container, &format!("{DIRECTORY}/config.conf"))
            })
            .collect();
        texts[0]
    }
}

#[test]
fn the_configuration_is_where_the_agent_looks() {
    for given in Given::all() {
        let config = given.config();
        assert_eq!(config["apiVersion"], "kubeproxy.config.k8s.io/v1alpha1", "{}", given.bundle);
        assert_eq!(config["kind"], "KubeProxyConfiguration", "{}", given.bundle);
        assert_eq!(config["mode"], "nftables", "{}", given.bundle);
    }
}

/// The agent knows every field, and every field has an effect.
#[test]
fn the_agent_takes_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.conf");
    for given in Given::all() {
        fs::write(&path, given.config_text()).unwrap();
        let mut command = Command::new(portolan_integration::binary().unwrap());
        // `--show-config` does not read the kubeconfig.
        let output =
            command.args(["run", "--show-config", "--hostname-override=node-a", "--config"]).arg(&path);
        let output = output.args(given.flags()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        // Only the network of the Pods depends on the cluster.
        let is_known = |line: &str| line.contains(r#"missing="clusterCIDR""#);
        assert!(output.status.success() && stderr.lines().all(is_known), "{}: {stderr}", given.bundle);
        let text = String::from_utf8(output.stdout).unwrap();
        let understood: Value = serde_saphyr::from_str(&text).unwrap();
        let config = given.config();
        for field in ["clusterCIDR", "oomScoreAdj", "healthzBindAddress", "detectLocalMode"] {
            let wanted = config.get(field);
            assert!(
                wanted.is_none_or(|wanted| *wanted == understood[field]),
                "{}: {field}: {text}",
                given.bundle
            );
        }
    }
}

#[test]
fn the_kubeconfig_is_that_of_the_service_account() {
    for given in Given::all() {
        let config = given.config();
        let path = config["clientConnection"]["kubeconfig"].as_str().unwrap();
        let kubeconfig = Kubeconfig::from_yaml(given.file(given.agent(), path)).unwrap();
        let name = kubeconfig.current_context.as_deref();
        let context = kubeconfig.contexts.iter().find(|context| Some(context.name.as_str()) == name).unwrap();
        let context = context.context.as_ref().unwrap();
        let cluster = kubeconfig.clusters.iter().find(|cluster| cluster.name == context.cluster).unwrap();
        let cluster = cluster.cluster.as_ref().unwrap();
        let server = cluster.server.as_deref().unwrap();
        assert!(server.starts_with("https://") && server.ends_with(":6443"), "{}: {server}", given.bundle);
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        assert_eq!(cluster.certificate_authority, Some(format!("{account}/ca.crt")), "{}", given.bundle);
        let user =
            kubeconfig.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref()).unwrap();
        let token = user.auth_info.as_ref().unwrap().token_file.clone();
        assert_eq!(token, Some(format!("{account}/token")), "{}", given.bundle);
    }
}

/// An unprivileged container cannot write to /proc/sys; then 0 must leave the sysctls alone.
#[test]
fn sysctls_are_asked_for_only_where_something_can_set_them() {
    for given in Given::all() {
        let config = given.config();
        let values = ["maxPerCore", "min", "tcpEstablishedTimeout", "tcpCloseWaitTimeout"];
        let is_zero = |name: &str| config["conntrack"][name] == 0 || config["conntrack"][name] == "0s";
        let can_set = given.pod.init_containers.as_ref().is_some_and(|containers| !containers.is_empty());
        for name in values {
            assert_eq!(is_zero(name), !can_set, "{}: conntrack.{name}", given.bundle);
        }
    }
}

#[test]
fn the_probes_ask_the_health_server() {
    for given in Given::all() {
        let config = given.config();
        let address = config["healthzBindAddress"].as_str().unwrap_or("0.0.0.0:10256");
        let address: std::net::SocketAddr = address.parse().unwrap();
        let agent = given.agent();
        let probes = [
            ("/livez", agent.startup_probe.as_ref()),
            ("/livez", agent.liveness_probe.as_ref()),
            ("/readyz", agent.readiness_probe.as_ref()),
        ];
        for (path, probe) in probes {
            let get = probe.and_then(|probe| probe.http_get.as_ref()).expect("there is a probe");
            assert_eq!(get.path.as_deref(), Some(path), "{}", given.bundle);
            let port = serde_json::to_value(&get.port).unwrap();
            assert_eq!(port, address.port(), "{}", given.bundle);
        }
    }
}
