//! The stage: the lab, the agents on both nodes, and how a change of the manifest is shown and applied.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use portolan_integration::{Agent, Answer, Lab, LabError, Manifests, Node, binary, eventually};

use crate::{
    manifest_diff::changes,
    picture::Picture,
    story::{Scene, Story},
    style::Style,
};

/// Facts about both nodes: the networks of pods, and the addresses at which a node answers node ports.
const FACTS: [&str; 4] =
    ["--cluster-cidr", "10.128.0.0/16", "--nodeport-addresses", "192.0.2.0/24,172.16.0.0/24"];

/// Why the demo cannot continue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A manifest cannot be read or written.
    #[error("{0}: {1}")]
    Manifest(PathBuf, std::io::Error),
    /// A manifest and the pods of the demo have drifted apart.
    #[error("{file} does not mention {what}")]
    Drift {
        /// The manifest.
        file: String,
        /// What it should contain.
        what: String,
    },
    /// A command of `portolan` failed.
    #[error("portolan {0}: {1}")]
    Command(&'static str, String),
    /// The page cannot be written.
    #[error("{0}: {1}")]
    Page(PathBuf, std::io::Error),
    /// The agents did not apply a manifest.
    #[error("{0} was not applied within {1:?}")]
    NotApplied(String, Duration),
}

/// Everything the acts share.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) style: Style,
    manifests: Manifests,
    agents: Vec<Agent>,
    /// The file in force, and its text.
    file: String,
    current: String,
    story: Story,
    failures: Vec<String>,
}

impl Stage {
    /// Builds the lab and starts Portolan on both nodes, with the first manifest.
    pub(crate) fn new(style: Style, first: &str) -> Result<Self, DemoError> {
        let lab = Lab::new()?;
        let manifests = Manifests::new()?;
        let current = read(first)?;
        put(&manifests, &current)?;
        let agents = lab
            .nodes()
            .map(|node| Agent::start(node, manifests.path(), &FACTS))
            .into_iter()
            .collect::<Result<_, _>>()?;
        let (file, story) = (first.to_owned(), Story::default());
        Ok(Self { lab, style, manifests, agents, file, current, story, failures: Vec::new() })
    }

    /// Begins an act.
    pub(crate) fn act(&mut self, number: u32, title: &str, story: &[&str]) {
        let line = format!("━━ Act {number}: {title} ");
        let rest = 96_usize.saturating_sub(line.chars().count());
        println!("\n{}\n", self.style.bold(&format!("{line}{}", "━".repeat(rest))));
        for line in story {
            println!("  {line}");
        }
        self.story.act(title.to_owned(), story);
    }

    /// Announces what happens next.
    pub(crate) fn say(&mut self, text: &str) {
        println!("\n  {text}:");
        self.story.add(Scene::Heading(text.to_owned()));
    }

    /// Shows what a manifest changes and how node-a's kernel would change, then applies
    /// it on both nodes and waits until their kernels hold it.
    pub(crate) fn change(&mut self, file: &str) -> Result<(), DemoError> {
        let next = read(file)?;
        println!("\n  {}", self.style.cyan(&format!("the manifest ({file})")));
        let lines = changes(&self.current, &next);
        for line in &lines {
            println!("    {}", self.style.change(line));
        }
        self.story.add(Scene::Lines(format!("the manifest ({file})"), lines));
        let preview = Manifests::new()?;
        put(&preview, &next)?;
        let (_, planned) = diff(&self.lab.node_a, preview.path())?;
        println!("  {}", self.style.cyan("the kernel of node-a (portolan diff)"));
        if planned.is_empty() {
            println!("    {}", self.style.dim("nothing: no Service is concerned"));
        }
        for line in &planned {
            println!("    {}", self.style.change(line));
        }
        let written = Instant::now();
        put(&self.manifests, &next)?;
        let limit = Duration::from_mins(2);
        let mut failure = None;
        let applied = eventually(limit, || {
            let equal = self.lab.nodes().map(|node| diff(node, self.manifests.path()));
            equal.into_iter().all(|result| match result {
                Ok((equal, _)) => equal,
                Err(error) => {
                    failure = Some(error);
                    false
                }
            })
        });
        if applied.is_none() {
            return Err(failure.unwrap_or(DemoError::NotApplied(file.into(), limit)));
        }
        if !planned.is_empty() {
            let time =
                format!("in both kernels {} ms after the file was written", written.elapsed().as_millis());
            println!("    {}", self.style.dim(&time));
            self.story.add(Scene::Lines("the kernel of node-a (portolan diff)".to_owned(), planned));
        }
        file.clone_into(&mut self.file);
        self.current = next;
        Ok(())
    }

    /// Checks that the current manifest contains `what`: the demo's pods are those that it describes.
    pub(crate) fn expect(&self, what: &str) -> Result<(), DemoError> {
        if self.current.contains(what) {
            return Ok(());
        }
        Err(DemoError::Drift { file: "the manifest".into(), what: what.into() })
    }

    /// Draws a picture.
    pub(crate) fn draw(&mut self, caption: &str, picture: &Picture) {
        println!("\n  {}", self.style.cyan(caption));
        for row in picture.rows() {
            println!("    {row}");
        }
        self.story.add(Scene::Lines(caption.to_owned(), picture.rows().map(str::to_owned).collect()));
    }

    /// Draws the Services as node-a sees them.
    pub(crate) fn draw_services(&mut self) -> Result<(), DemoError> {
        let (_, text) = self.portolan("draw", &["draw"])?;
        println!(
            "\n  {}",
            self.style.cyan(&format!("the Services, from node-a (portolan draw -f {})", self.file))
        );
        for line in text.lines() {
            println!("{}", format!("    {line}").trim_end());
        }
        let (_, svg) = self.portolan("draw", &["draw", "-o", "svg"])?;
        let element = svg.find("<svg").and_then(|start| svg.get(start..)).unwrap_or_default();
        self.story.add(Scene::Picture(element.to_owned()));
        Ok(())
    }

    /// Runs a `portolan` command on the current manifest, as node-a, and shows the first lines of its output. Returns
    /// the exit status and the whole output.
    pub(crate) fn ask(
        &mut self,
        command: &'static str,
        arguments: &[&str],
        lines: usize,
    ) -> Result<(i32, String), DemoError> {
        let (code, text) = self.portolan(command, &[&[command], arguments].concat())?;
        let caption = format!("portolan {command} {} -f {}", arguments.join(" "), self.file);
        println!("\n  {}", self.style.cyan(&caption));
        let shown: Vec<String> = text.lines().take(lines).map(str::to_owned).collect();
        for line in &shown {
            println!("    {line}");
        }
        self.story.add(Scene::Lines(caption, shown));
        Ok((code, text))
    }

    /// Runs a command that explains the current manifest, on node-a; returns its exit status and output.
    fn portolan(&self, command: &'static str, arguments: &[&str]) -> Result<(i32, String), DemoError> {
        let node = &self.lab.node_a;
        let path = examples().join(&self.file);
        let path = path.to_string_lossy();
        let options = [&["-f", &path, "--node", node.name()][..], &FACTS].concat();
        let output = Agent::command(node, &[arguments, &options].concat())?;
        match output.status.code() {
            Some(code @ (0 | 1)) => {
                // The file's name is enough for the audience.
                let directory = format!("{}/", examples().display());
                Ok((code, String::from_utf8_lossy(&output.stdout).replace(&directory, "")))
            }
            _ => Err(DemoError::Command(command, String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Writes the page of the demo next to the directory of the binaries, and returns its path.
    pub(crate) fn write_page(&self, title: &str, map: &[&str]) -> Result<PathBuf, DemoError> {
        let binary = binary()?;
        let target = binary.parent().and_then(Path::parent).unwrap_or(Path::new("."));
        let path = target.join("demo.html");
        match fs::write(&path, self.story.html(title, map)) {
            Ok(()) => Ok(path),
            Err(error) => Err(DemoError::Page(path, error)),
        }
    }

    /// States what the act should have shown, and whether it was shown.
    pub(crate) fn claim(&mut self, claim: &str, holds: bool) {
        self.story.add(Scene::Claim(claim.to_owned(), holds));
        if holds {
            println!("  {} {claim}", self.style.green("✓"));
        } else {
            println!("  {} {}", self.style.red("✗"), self.style.red(claim));
            self.failures.push(claim.to_owned());
        }
    }

    /// The claims that did not hold; if there are any, prints the agents' stderr.
    pub(crate) fn failures(&self) -> &[String] {
        if !self.failures.is_empty() {
            for (agent, node) in self.agents.iter().zip(self.lab.nodes()) {
                eprintln!("portolan on {}:\n{}", node.name(), agent.stderr());
            }
        }
        &self.failures
    }
}

/// How many of these answers came from each server, by name.
pub(crate) fn counts<'a>(answers: &'a [Answer], servers: &[&'a str]) -> Vec<(&'a str, u32)> {
    let count = |server: &&'a str| {
        (*server, answers.iter().filter(|answer| answer.server() == Some(*server)).count() as u32)
    };
    servers.iter().map(count).collect()
}

/// Runs `portolan diff` on a node; returns whether the kernel equals the manifests, and the differences.
fn diff(node: &Node, manifests: &Path) -> Result<(bool, Vec<String>), DemoError> {
    let path = manifests.to_string_lossy();
    let arguments =
        [&["diff", "-o", "nft", "-f", &path, "--hostname-override", node.name()][..], &FACTS].concat();
    let output = Agent::command(node, &arguments)?;
    match output.status.code() {
        Some(code @ (0 | 1)) => {
            let lines = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
            Ok((code == 0, lines))
        }
        _ => Err(DemoError::Command("diff", String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn read(file: &str) -> Result<String, DemoError> {
    let path = examples().join(file);
    fs::read_to_string(&path).map_err(|error| DemoError::Manifest(path, error))
}

/// The directory of the manifests.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo")
}

fn put(manifests: &Manifests, text: &str) -> Result<(), DemoError> {
    manifests
        .put_text("cluster.yaml", text)
        .map_err(|error| DemoError::Manifest(manifests.path().into(), error))
}
