//! The API server: that of the tests, or a real one.

use std::{fs, path::PathBuf, time::Duration};

use portolan_integration::{API_SERVER_THREAD, ApiServer, Lab, RealServer, Wire, cpu_time};
use serde_json::Value;

use super::Result;

/// The API server that the agent is measured against.
pub enum Server {
    /// The test API server.
    Test(ApiServer),
    /// The API server of a kubeconfig.
    Real(RealServer),
}

impl Server {
    /// Uses the server of `PORTOLAN_TEST_KUBECONFIG`, if set.
    pub fn start(lab: &Lab) -> Result<Self> {
        Ok(match std::env::var_os("PORTOLAN_TEST_KUBECONFIG") {
            Some(path) => Self::Real(lab.real_server(&PathBuf::from(path), None)?),
            None => Self::Test(lab.api_server(Duration::from_mins(1))?),
        })
    }

    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Test(server) => server.kubeconfig(),
            Self::Real(server) => server.kubeconfig(),
        }
    }

    pub fn put_all(&self, objects: impl IntoIterator<Item = Value>) {
        match self {
            Self::Test(server) => server.put_all(objects),
            Self::Real(server) => server.put_all(objects),
        }
    }

    pub fn delete_all<'a>(&self, objects: impl IntoIterator<Item = &'a Value>) {
        match self {
            Self::Test(server) => server.delete_all(objects),
            Self::Real(server) => server.delete_all(objects),
        }
    }

    /// The counters of what the server has sent.
    pub fn wire(&self) -> &Wire {
        match self {
            Self::Test(server) => server.wire(),
            Self::Real(server) => server.wire(),
        }
    }

    /// The CPU time that the server has used; for a real one, on this machine.
    pub fn cpu(&self) -> Duration {
        match self {
            Self::Test(_) => cpu_time(std::process::id(), Some(API_SERVER_THREAD)),
            Self::Real(_) => {
                let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
                let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
                let is_server = |pid: &u32| {
                    fs::read_to_string(format!("/proc/{pid}/comm"))
                        .is_ok_and(|name| name.trim_end() == "kube-apiserver")
                };
                pids.filter(is_server).map(|pid| cpu_time(pid, None)).sum()
            }
        }
    }
}
