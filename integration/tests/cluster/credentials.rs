//! Credentials that disappear, come back, or come from a program; servers with unusual certificates.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, thread, time::Duration};

use portolan_integration::{Agent, Family, LabError, Namespace};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};
use socket2::{Domain, Type};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};

use crate::scene::{ARGUMENTS, Scene, wait_until};

/// Changes the kubeconfig of a scene.
fn edit_kubeconfig(scene: &Scene, edit: impl FnOnce(&mut Value)) {
    let path = scene.server.kubeconfig();
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    edit(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn a_token_that_vanishes_is_reported_once_and_when_it_is_back() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    let agent = scene.run();
    let file = scene.server.kubeconfig().with_extension("token");
    let token = fs::read_to_string(&file).unwrap();
    let count = |what: &str| agent.stderr().lines().filter(|line| line.contains(what)).count();
    fs::remove_file(&file).unwrap();
    for pod in [&pods[1], &pods[0]] {
        // New requests use the last token.
        scene.server.drop_connections().unwrap();
        scene.put_web(&[pod]);
        scene.wait_until_served(&[pod.name()], "without the file");
    }
    assert_eq!(
        count(
            "\"Credential cannot be used; continuing with the last one\" credential=\"token\" err=\"token file "
        ),
        1,
        "{}",
        agent.stderr()
    );
    fs::write(&file, token).unwrap();
    scene.server.drop_connections().unwrap();
    scene.put_web(&[&pods[1]]);
    scene.wait_until_served(&["web-2"], "with the file");
    assert_eq!(count("\"Credential can be used again\" credential=\"token\""), 1, "{}", agent.stderr());
}

#[test]
fn an_exec_plugin_gives_the_token_and_another_when_that_is_refused() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    let directory = tempfile::tempdir().unwrap();
    let (plugin, token) = (directory.path().join("login"), directory.path().join("token"));
    let script =
        format!("#!/bin/sh\nprintf '{{\"status\": {{\"token\": \"%s\"}}}}' \"$(cat {})\"\n", token.display());
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&token, "first").unwrap();
    scene.server.set_token("first");
    edit_kubeconfig(&scene, |config| {
        config["users"][0]["user"] = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "interactiveMode": "Never",
        }});
    });
    let _agent = scene.run();
    scene.wait_until_served(&["web-1"], "with the first token");
    fs::write(&token, "second").unwrap();
    scene.server.set_token("second");
    scene.server.drop_connections().unwrap();
    scene.put_web(&[&pods[1]]);
    scene.wait_until_served(&["web-2"], "with the second token");
}

/// Starts a server whose certificate is the authority's own, as in hand-made clusters.
fn serve_as_authority(namespace: &Namespace, address: std::net::SocketAddr) -> Result<String, LabError> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([address.ip().to_string()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let config = Arc::new(config);
    let socket = namespace.socket(Domain::for_address(address), Type::STREAM, None);
    let socket = socket.map_err(|source| LabError::Io { what: "open a socket".to_owned(), source })?;
    socket.bind(&address.into()).unwrap();
    socket.listen(16).unwrap();
    let listener = std::net::TcpListener::from(socket);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            // The client closes the connection.
            let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
        }
    });
    Ok(certificate.pem())
}

#[test]
fn a_server_whose_certificate_is_its_own_authority_is_explained() {
    let scene = Scene::new();
    let address = scene.lab.node_b.outside().port(Family::V4, 6444);
    let certificate = serve_as_authority(scene.lab.node_b.namespace(), address).unwrap();
    let file = scene.server.kubeconfig().with_extension("crt");
    fs::write(file, certificate).unwrap();
    edit_kubeconfig(&scene, |config| {
        config["clusters"][0]["cluster"]["server"] = json!(format!("https://{address}"));
    });
    let kubeconfig = scene.server.kubeconfig();
    let agent = Agent::spawn_in_cluster(&scene.lab.node_a, &kubeconfig, &ARGUMENTS).unwrap();
    wait_until("the agent reports the reason", || {
        agent.stderr().contains("the API server's certificate is that of a certificate authority (CA:TRUE)")
    });
}

/// kube itself logs `Server cert bypassed` for every connection.
#[test]
fn a_server_that_is_not_checked_is_said_once_in_words() {
    let mut scene = Scene::new();
    let pods = scene.web_pods();
    scene.put_web(&[&pods[0]]);
    edit_kubeconfig(&scene, |config| {
        let cluster = &mut config["clusters"][0]["cluster"];
        cluster["certificate-authority"] = Value::Null;
        cluster["insecure-skip-tls-verify"] = json!(true);
    });
    let agent = scene.run_with(&["-v", "4"]);
    scene.server.drop_connections().unwrap();
    scene.put_web(&[&pods[1]]);
    scene.wait_until_served(&["web-2"], "after a new connection");
    thread::sleep(Duration::from_millis(100));
    let log = agent.stderr();
    assert_eq!(
        log.matches("insecure-skip-tls-verify: the certificate of the API server is not checked").count(),
        1,
        "{log}"
    );
    assert!(!log.contains("cert bypassed"), "{log}");
    assert!(log.contains("Reconciled"), "the agent's own lines are missing: {log}");
    for other in ["pool.rs", "http.rs", "tls.rs"] {
        assert!(!log.contains(&format!(" {other}:")), "{other}: {log}");
    }
}
