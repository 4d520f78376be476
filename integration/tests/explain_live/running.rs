//! A running agent for commands.

use std::{io::Write as _, os::unix::net::UnixStream, path::PathBuf, time::Duration};

use portolan_integration::{Agent, Pod, Protocol, Slice, eventually, nft};

use crate::{
    manifests::{Scene, service},
    shared::{Answer, portolan},
};

/// The longest wait for anything that takes milliseconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// An agent on node-a with a Service `web`, a NodePort with two endpoints.
pub struct Running {
    pub scene: Scene,
    pub agent: Agent,
    /// The Pods behind the Service.
    pub pods: [Pod; 3],
    pub directory: tempfile::TempDir,
}

impl Running {
    pub fn new(arguments: &[&str]) -> Self {
        let scene = Scene::new();
        let pods = scene.web_pods();
        put(&scene, &[&pods[0], &pods[1]]);
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("agent.sock").display().to_string();
        let arguments = [&["--socket", &socket][..], arguments].concat();
        let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &arguments);
        let agent = agent.unwrap_or_else(|error| panic!("{error}"));
        let running = Self { scene, agent, pods, directory };
        assert!(eventually(PATIENCE, || running.socket().exists()).is_some(), "{}", running.agent.stderr());
        running
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Runs a command that connects to the agent.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let socket = self.socket().display().to_string();
        portolan(self.scene.lab.node_a.namespace(), &[arguments, &["--socket", &socket]].concat())
    }

    /// Reads or changes tables without the agent.
    pub fn nft(&self, arguments: &[&str]) -> String {
        nft(self.scene.lab.node_a.namespace(), arguments, "").unwrap()
    }

    /// Connects to the agent and sends a request.
    pub fn connect(&self, request: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

/// Writes the Service `web` with these endpoints.
pub fn put(scene: &Scene, pods: &[&Pod]) {
    let web = service("web", scene.lab.cluster_ip(1))
        .of_type("NodePort")
        .port("http", Protocol::Tcp, 80)
        .node_port(30_080);
    scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), pods));
}
