//! The address of the API server, and errors of its configuration.

use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use crate::{
    config::settings::ApiSettings,
    source::cluster::{Cluster, Options, Timing},
};

fn options() -> Options {
    Options {
        node_name: "n1".into(),
        proxy_name: None,
        needs_pod_networks: false,
        spread: Duration::ZERO,
        startup_taint: None,
        timing: Timing::default(),
    }
}

fn error(kubeconfig: Option<PathBuf>, master: Option<&str>) -> String {
    let api = ApiSettings { kubeconfig, master: master.map(str::to_owned), ..ApiSettings::default() };
    let error = Cluster::new(&api, options()).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// A kubeconfig as kubeadm writes it for a proxy, with its files beside it.
fn kubeconfig(directory: &TempDir, cluster: &str) -> PathBuf {
    let path = directory.path().join("kubeconfig.conf");
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    {cluster}
contexts:
- name: default
  context: {{cluster: default, namespace: default, user: default}}
current-context: default
users:
- name: default
  user:
    tokenFile: token
"
    );
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_kubeconfig_that_cannot_be_used_is_named() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("token"), "t").unwrap();
    let path = directory.path().join("none");
    let shown = path.display().to_string();
    assert!(error(Some(path), None).starts_with(&format!("{shown}: ")));

    let path = directory.path().join("bad");
    fs::write(&path, "clusters: [\n\n  - {").unwrap();
    let shown = path.display().to_string();
    assert!(error(Some(path), None).starts_with(&format!("{shown}: ")));

    let path = kubeconfig(&directory, "{server: 'https://192.0.2.1:6443', certificate-authority: ca.crt}");
    let shown = error(Some(path.clone()), None);
    assert!(shown.contains("ca.crt"), "{shown}");

    fs::write(directory.path().join("ca.crt"), "no certificate").unwrap();
    error(Some(path), None);

    for (server, proxy, reason) in [
        ("https://192.0.2.1:6443", "socks5://192.0.2.9", "a proxy must have an http:// URL, not socks5://"),
        ("https://192.0.2.1:6443", "://", "the proxy is not a URL such as http://192.0.2.1:3128"),
        ("http://192.0.2.1:8080", "http://192.0.2.9:3128", "proxies are used for connections with TLS only"),
    ] {
        let path = kubeconfig(&directory, &format!("{{server: '{server}', proxy-url: '{proxy}'}}"));
        let shown = error(Some(path), None);
        assert!(shown.contains("kubeconfig.conf: proxy-url: ") && shown.ends_with(reason), "{shown}");
    }

    let path = kubeconfig(&directory, "{server: 'ftp://192.0.2.1'}");
    assert!(
        error(Some(path), None)
            .ends_with("server \"ftp://192.0.2.1\" is not a URL such as https://192.0.2.1:6443")
    );

    let path = kubeconfig(&directory, "{server: 'https://192.0.2.1:6443'}");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("current-context: default", "current-context: ''")).unwrap();
    assert!(error(Some(path.clone()), None).ends_with("it has no current-context"));
    let command =
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: /none/login, interactiveMode: Never}";
    fs::write(&path, text.replace("tokenFile: token", command)).unwrap();
    let shown = error(Some(path.clone()), None);
    assert!(shown.contains("exec plugin \"/none/login\": "), "{shown}");
    // As in client-go, relative to the directory of the kubeconfig.
    fs::write(&path, text.replace("tokenFile: token", &command.replace("/none/login", "./login"))).unwrap();
    let shown = error(Some(path.clone()), None);
    assert!(shown.contains(&format!("{}/./login", directory.path().display())), "{shown}");
    let provider = "auth-provider: {name: gcp, config: {scopes: all}}";
    fs::write(&path, text.replace("tokenFile: token", provider)).unwrap();
    let shown = error(Some(path), None);
    assert!(shown.contains("the user's auth-provider \"gcp\" is not supported"), "{shown}");

    for (token, reason) in [(" \n", "it is empty"), ("one\ntwo", "it does not hold a token")] {
        fs::write(directory.path().join("token"), token).unwrap();
        let path = kubeconfig(&directory, "{server: 'https://192.0.2.1:6443'}");
        let shown = error(Some(path), None);
        assert!(shown.contains("/token: ") && shown.ends_with(reason), "{shown}");
    }
    fs::remove_file(directory.path().join("token")).unwrap();
    let path = kubeconfig(&directory, "{server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}");
    let shown = error(Some(path), None);
    assert!(shown.contains("token"), "{shown}");
}

#[test]
fn a_master_that_is_no_url_is_named() {
    for master in [
        "https://",
        "ftp://192.0.2.1",
        "a b",
        "unix:///run/x",
        "https://192.0.2.1:99999",
        "https://[2001:db8::1]:",
    ] {
        let shown = error(None, Some(master));
        assert_eq!(shown, format!("--master: {master:?} is not a URL such as https://192.0.2.1:6443"));
    }
}

#[test]
fn without_a_pod_there_are_no_credentials() {
    let shown = error(None, Some(" "));
    assert!(shown.starts_with("no --kubeconfig and no --master, and not in a Pod"), "{shown}");
}

fn url(kubeconfig: Option<&PathBuf>, master: Option<&str>) -> String {
    let api = ApiSettings {
        kubeconfig: kubeconfig.cloned(),
        master: master.map(str::to_owned),
        ..ApiSettings::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = runtime.block_on(crate::source::cluster::connect::config(&api)).unwrap();
    config.cluster_url.to_string()
}

#[test]
fn the_proxy_of_a_kubeconfig_is_used() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("token"), "t").unwrap();
    let cluster = "{server: 'https://192.0.2.1:6443', proxy-url: 'http://me:secret@192.0.2.9:3128'}";
    let api = ApiSettings { kubeconfig: Some(kubeconfig(&directory, cluster)), ..ApiSettings::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = runtime.block_on(crate::source::cluster::connect::config(&api)).unwrap();
    assert_eq!(crate::source::cluster::proxy::shown(&config.proxy_url.unwrap()), "192.0.2.9:3128");
}

#[test]
fn a_certificate_that_is_its_own_authority_is_explained() {
    let error = std::io::Error::other("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
    let text = crate::source::cluster::error::RequestError::transport(&error).to_string();
    assert!(text.contains("is that of a certificate authority (CA:TRUE)"), "{text}");
}

/// As in client-go, TLS is used if there is anything to check it with.
#[test]
fn the_server_of_a_kubeconfig_may_lack_its_scheme() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("token"), "t").unwrap();
    for (cluster, expected) in [
        ("{server: '192.0.2.1:6443', insecure-skip-tls-verify: true}", "https://192.0.2.1:6443/"),
        ("{server: 'localhost:8080'}", "http://localhost:8080/"),
        ("{server: 'https://[2001:db8::1]:6443/prefix'}", "https://[2001:db8::1]:6443/prefix"),
    ] {
        assert_eq!(url(Some(&kubeconfig(&directory, cluster)), None), expected);
    }
}

#[test]
fn the_master_wins_over_the_kubeconfig() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("token"), "t").unwrap();
    let path = kubeconfig(&directory, "{server: 'https://192.0.2.1:6443', insecure-skip-tls-verify: true}");
    assert_eq!(url(Some(&path), None), "https://192.0.2.1:6443/");
    assert_eq!(url(Some(&path), Some("https://192.0.2.2")), "https://192.0.2.2/");
    // Without a scheme, as in client-go, TLS is used if the credentials are for TLS.
    assert_eq!(url(Some(&path), Some("192.0.2.2:8443")), "https://192.0.2.2:8443/");
    assert_eq!(url(None, Some("192.0.2.2:8080")), "http://192.0.2.2:8080/");
    assert_eq!(url(None, Some("[2001:db8::1]:8080")), "http://[2001:db8::1]:8080/");
}
