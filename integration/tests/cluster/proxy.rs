//! An HTTP proxy between the node and its API server (`CONNECT`), as `$HTTPS_PROXY` and `proxy-url` name it.

use std::{
    fs,
    io::{BufRead, BufReader, Write, copy},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use portolan_integration::{Agent, Family, Node};
use serde_json::{Value, json};
use socket2::{Domain, Type};

use crate::scene::{ARGUMENTS, Scene, wait_until};

/// A proxy that runs on a node and demands a name and a password.
struct Proxy {
    address: SocketAddr,
    /// The number of connections that clients asked for.
    asked: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(node: &Node) -> Self {
        let address = node.outside().port(Family::V4, 0);
        let socket = node.namespace().socket(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let (asked, namespace) = (Arc::new(AtomicUsize::new(0)), node.namespace().clone());
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let connect = |target: SocketAddr| {
                    let socket = namespace.socket(Domain::for_address(target), Type::STREAM, None)?;
                    socket.connect(&target.into())?;
                    Ok(TcpStream::from(socket))
                };
                // A client that closes its connection is not an error here.
                let _ = relay(client, connect);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn relay(
    client: TcpStream,
    connect: impl FnOnce(SocketAddr) -> std::io::Result<TcpStream>,
) -> std::io::Result<()> {
    let mut head = BufReader::new(client.try_clone()?).lines();
    let line = head.next().transpose()?.unwrap_or_default();
    let mut headers = Vec::new();
    for header in head.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        headers.push(header.to_lowercase());
    }
    // The credentials `me:secret`.
    let is_known = headers.iter().any(|header| header == "proxy-authorization: basic bwu6c2vjcmv0");
    let mut client = client;
    if !is_known {
        return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    let target = line.split(' ').nth(1).and_then(|target| target.parse().ok());
    let Some(target) = target.filter(|_| line.starts_with("CONNECT ")) else {
        return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    };
    let mut server = connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(&mut from_client, &mut to_server));
    thread::spawn(move || copy(&mut server, &mut client));
    Ok(())
}

#[test]
fn the_proxy_of_the_environment_is_used_unless_the_server_is_exempt() {
    let scene = Scene::new();
    let [one, _] = scene.web_pods();
    scene.put_web(&[&one]);
    let node = &scene.lab.node_a;
    let proxy = Proxy::start(node);
    let variable = format!("HTTPS_PROXY=http://me:secret@{}", proxy.address);
    let run = |environment: &[&str]| {
        let program = [&["env", &variable], environment].concat();
        Agent::spawn_in_cluster_by(node, &program, &scene.server.kubeconfig(), &ARGUMENTS).unwrap()
    };
    let agent = run(&["NO_PROXY=192.0.2.0/24,2001:db8::/32"]);
    wait_until("ready without the proxy", || agent.readyz() == Some(200));
    assert_eq!(proxy.asked(), 0);
    agent.terminate().unwrap();
    let agent = run(&["NO_PROXY=10.96.0.0/12"]);
    wait_until("ready through the proxy", || agent.readyz() == Some(200));
    assert!(proxy.asked() >= 1);
    let log = agent.stderr();
    assert!(log.contains(&format!("proxy=\"{}\"", proxy.address)) && !log.contains("secret"), "{log}");
    scene.wait_until_served(&["web-1"], "through the proxy");
}

#[test]
fn a_proxy_that_refuses_is_named_as_the_reason() {
    let scene = Scene::new();
    let proxy = Proxy::start(&scene.lab.node_a);
    let kubeconfig = scene.server.kubeconfig();
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&kubeconfig).unwrap()).unwrap();
    config["clusters"][0]["cluster"]["proxy-url"] = json!(format!("http://me:wrong@{}", proxy.address));
    fs::write(&kubeconfig, config.to_string()).unwrap();
    let agent = scene.spawn_with(&[]);
    wait_until("the agent reports the refusal", || {
        let log = agent.stderr();
        log.contains("proxy authorization required; the proxy is the one of $HTTPS_PROXY, or of proxy-url")
    });
    assert!(!agent.stderr().contains("wrong"));
}
