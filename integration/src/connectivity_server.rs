//! A server of `portolan connectivity-test`, as its Pods run it.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{LabError, Namespace, binary, eventually};

/// How long a server may take to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server, which is killed when this is dropped.
#[derive(Debug)]
pub struct ConnectivityServer(Child);

impl ConnectivityServer {
    /// Starts a server of this name in a namespace, and waits until it listens.
    pub fn start(namespace: &Namespace, name: &str, port: u16) -> Result<Self, LabError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(binary()?);
        command.args(["connectivity-test", "--serve", "--port", &port.to_string()]).env("POD_NAME", name);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let server = namespace.enter(move || command.spawn()).map_err(LabError::io("start a server"))?;
        let server = Self(server);
        let listens = || {
            let sockets = namespace.filter("ss", &["-Hltn", "sport", "=", &port.to_string()], "");
            sockets.is_ok_and(|sockets| !sockets.is_empty())
        };
        let late = || std::io::Error::other(format!("it does not listen within {PATIENCE:?}"));
        eventually(PATIENCE, listens).ok_or_else(late).map_err(LabError::io("start a server"))?;
        Ok(server)
    }
}

impl Drop for ConnectivityServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
