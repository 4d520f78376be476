//! Asks the agent periodically.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::{Duration, Instant},
};

use portolan_rules::model::ObjectName;
use ratatui::crossterm::event::Event;
use serde_json::Value;

use super::model::Look;
use crate::{
    cli::{
        explain::{AgentError, Scene, agent},
        get::rows::{self, Beside, ServiceRow},
    },
    observe::query::Wanted,
};

/// The events that the view waits for.
pub enum News {
    /// What the agent answered.
    Look(Box<Look>),
    /// The agent does not answer, and why.
    Lost(String),
    /// An event of the terminal: a key, or another size.
    Terminal(std::io::Result<Event>),
    /// A signal to end.
    End,
}

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// All Services are read again after a commit, but reading them takes at most one part in `SHARE` of the time.
const SHARE: u32 = 10;
/// All Services are read again after this time even without a commit, since not every change is committed.
const LONGEST: Duration = Duration::from_secs(30);

/// Asks the agent at a socket, and holds its last answer.
pub struct Reader {
    socket: PathBuf,
    wanted: Wanted,
    opened: Option<ObjectName>,
    last: Option<Services>,
}

/// All Services, as they were read.
struct Services {
    scene: Scene,
    rows: Arc<[ServiceRow]>,
    /// When the Services were read, and how long this took.
    at: Instant,
    took: Duration,
    /// The time of the last commit before that.
    commit: Option<String>,
}

impl Reader {
    /// Creates a reader that asks at this socket, for the Services of a namespace or for all Services.
    pub fn new(socket: PathBuf, namespace: Option<&str>, opened: Option<ObjectName>) -> Self {
        let wanted = namespace.map_or(Wanted::All, |namespace| Wanted::Namespace(namespace.into()));
        Self { socket, wanted, opened, last: None }
    }

    /// Asks until one of the channels is closed. The Service that the user opens comes through `opened`, and is read at
    /// once.
    pub fn run(&mut self, opened: &Receiver<Option<ObjectName>>, news: &Sender<News>) {
        loop {
            match opened.recv_timeout(PERIOD) {
                Ok(opened) => self.opened = opened,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let found = match self.look() {
                Ok(look) => News::Look(Box::new(look)),
                Err(error) => News::Lost(error.to_string()),
            };
            if news.send(found).is_err() {
                return;
            }
        }
    }

    /// Asks once.
    pub fn look(&mut self) -> Result<Look, AgentError> {
        let agent = agent::state(&self.socket)?;
        let mut answer = agent::commits(&self.socket)?;
        let commits: Vec<Value> = serde_json::from_value(answer["commits"].take()).unwrap_or_default();
        let commit = commits.first().and_then(|commit| commit["at"].as_str()).map(str::to_owned);
        let counted = agent::counted(&self.socket, &self.wanted)?;
        let last = match self.last.take().filter(|last| !last.is_old(commit.as_ref())) {
            Some(last) => last,
            None => self.read(commit)?,
        };
        let Services { scene, rows, .. } = self.last.insert(last);
        let opened = self.opened.as_ref().and_then(|name| {
            let beside = Beside { scene, totals: None, is_all: true };
            Some(rows::service(&beside, &scene.view().service(name)?))
        });
        let problem = match &counted {
            None => Some("the agent has to run with --endpoint-counters"),
            Some(counted) => counted.problem.as_deref(),
        };
        let problem = problem.map(|problem| format!("Connections are not counted: {problem}"));
        Ok(Look {
            node: agent.node.clone(),
            freshness: agent::freshness(&agent),
            services: Arc::clone(rows),
            opened,
            totals: counted.filter(|_| problem.is_none()).map(Into::into),
            problem,
            commits,
        })
    }

    /// Reads all Services, without shares.
    fn read(&self, commit: Option<String>) -> Result<Services, AgentError> {
        let began = Instant::now();
        let scene = agent::read(&self.socket, &self.wanted)?;
        let beside = Beside { scene: &scene, totals: None, is_all: false };
        let services = scene.view().services();
        // The answer for one namespace includes Services of other namespaces that decide on its frontends.
        let is_meant = |name: &ObjectName| match &self.wanted {
            Wanted::Namespace(namespace) => *name.namespace == **namespace,
            _ => true,
        };
        let meant = services.iter().filter(|explained| is_meant(&explained.service.name));
        let rows = meant.map(|explained| rows::service(&beside, explained)).collect();
        Ok(Services { rows, scene, at: began, took: began.elapsed(), commit })
    }
}

impl Services {
    fn is_old(&self, commit: Option<&String>) -> bool {
        let age = self.at.elapsed();
        age > LONGEST || (self.commit.as_ref() != commit && age > self.took * SHARE)
    }
}
