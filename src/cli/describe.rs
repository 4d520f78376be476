//! `describe service`: the tree of frontends and endpoints, and what was left out and why.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand, ValueEnum};
use portolan_rules::{
    explanation::{
        ExplainedEndpoint, ExplainedFrontend, ExplainedPort, ExplainedService, PolicyShares, Severity,
        StandIns, View, trace::percent,
    },
    frontends::FrontendKey,
    model::{LoadBalancing, TrafficPolicy},
    picture::{OUTSIDE_IN, count, number},
    simulate::Probability,
};

use super::{
    arguments::ViewArgs,
    explain::{Compared, Scene, object_name},
    output::Ended,
    wrap::wrap,
};
use crate::{kernel::nftables, observe::query::Wanted};

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 the Service exists, 1 it does not, 2 an error.

Examples:
  portolan describe service shop/web -f manifests/ --node node-1";

/// What is described.
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// A Service: its frontends, its endpoints with their shares, and what is left out and why
    #[command(alias = "svc", alias = "services")]
    Service(DescribeServiceArgs),
}

/// Arguments of `describe service`.
#[derive(Args, Debug)]
pub struct DescribeServiceArgs {
    /// Name of the Service, or NAMESPACE/NAME
    #[arg(value_name = "NAME")]
    pub name: String,

    /// Namespace of the Service, unless the name has one
    #[arg(short, long, default_value = "default")]
    pub namespace: String,

    /// When to use colours.
    #[arg(long, help = "When to use colours; NO_COLOR is respected", value_enum, default_value_t = When::Auto)]
    pub color: When,

    /// The node whose view is described.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Length, in characters, of a bar that stands for all connections.
const BAR: u32 = 20;

/// Describes a Service. Exit status: 0, 1 if there is no such Service, 2 for an error.
pub fn service(args: &DescribeServiceArgs) -> Ended {
    let name = object_name(&args.name, &args.namespace);
    let scene = Scene::open_for(&args.view, &Wanted::Service(name.clone()))?;
    let service = scene.service(&args.view, &name)?;
    let mut text = text(&scene.view(), &service, &scene.origin);
    let compared = compare(&scene, &service);
    text.push_str(&compared.unwrap_or_else(|error| format!("\nKernel: cannot be read: {error}\n")));
    let choice = match args.color {
        When::Auto => anstream::stdout().current_choice(),
        When::Always => anstream::ColorChoice::Always,
        When::Never => anstream::ColorChoice::Never,
    };
    let mut out = AutoStream::new(Vec::new(), choice);
    // Writing into a vector does not fail.
    let _ = out.write_all(wrap(&text).as_bytes());
    scene.print(&out.into_inner(), true)
}

/// Compares what the kernel does with the state, frontend by frontend. The text is empty if the kernel cannot be
/// compared.
fn compare(scene: &Scene, explained: &ExplainedService) -> Result<String, nftables::Error> {
    let Some(mut compared) = Compared::read(scene)? else { return Ok(String::new()) };
    let view = scene.view();
    let frontends = explained.ports.iter().flat_map(|port| &port.frontends);
    let served: Vec<_> = frontends.filter(|frontend| frontend.left_out.is_none()).collect();
    let mut text = String::new();
    for frontend in &served {
        let Some(difference) = compared.difference(scene, &frontend.key)? else { continue };
        let style = colour(Severity::Error);
        let at = address(&view, &frontend.key);
        // Writing into a `String` does not fail.
        let _ = writeln!(text, "{style}Kernel differs{style:#} at {at}: {difference}");
    }
    // A state that was read from the kernel is the same anyway.
    if text.is_empty() && scene.live.is_some() {
        let _ = writeln!(text, "Kernel: does the same at {}", every(served.len()));
    }
    Ok(if text.is_empty() { text } else { format!("\n{text}") })
}

/// Returns the words for all frontends of a Service, given their number.
fn every(frontends: usize) -> String {
    if frontends == 1 { "its frontend".to_owned() } else { format!("all {} frontends", number(frontends)) }
}

const BOLD: Style = Style::new().bold();
const GREY: Style = Style::new().dimmed();

const fn colour(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Error => AnsiColor::Red,
        Severity::Warning => AnsiColor::Yellow,
        Severity::Info => AnsiColor::Blue,
    };
    colour.on_default()
}

fn text(view: &View<'_>, explained: &ExplainedService, origin: &str) -> String {
    let mut text = String::new();
    // Writing into a `String` does not fail.
    let _ = write(&mut text, view, explained, origin);
    text
}

fn write(out: &mut String, view: &View<'_>, explained: &ExplainedService, origin: &str) -> std::fmt::Result {
    writeln!(out, "{BOLD}Service {}{BOLD:#}  {GREY}{origin}{GREY:#}", explained.service.name)?;
    for finding in &explained.findings {
        let style = colour(finding.severity);
        let subject =
            if finding.subject.is_empty() { String::new() } else { format!("{}: ", finding.subject) };
        writeln!(out, "  {style}{:<7}{style:#} {subject}{}", finding.severity.name(), finding.reason)?;
        writeln!(out, "          {GREY}{}: {}{GREY:#}", finding.reason.field(), finding.reason.hint())?;
    }
    for port in &explained.ports {
        write_port(out, view, explained, port)?;
    }
    if explained.service.load_balancing == LoadBalancing::SourceHash {
        writeln!(out, "\n{GREY}source-hash: a client's address decides on its endpoint{GREY:#}")?;
    }
    if let Some(seconds) = explained.service.affinity_timeout {
        writeln!(
            out,
            "\n{GREY}sessionAffinity ClientIP: a client keeps its endpoint for {seconds} s after each connection{GREY:#}"
        )?;
    }
    Ok(())
}

fn write_port(
    out: &mut String,
    view: &View<'_>,
    explained: &ExplainedService,
    port: &ExplainedPort,
) -> std::fmt::Result {
    writeln!(out, "\nPort {port}")?;
    // The outer frontends lead through the inner ones.
    let mut depth = 0;
    for kind in OUTSIDE_IN {
        let mut of_kind = port.frontends.iter().filter(|frontend| frontend.kind == kind).peekable();
        if of_kind.peek().is_none() {
            continue;
        }
        for frontend in of_kind {
            write_frontend(out, view, port, frontend, depth)?;
        }
        depth += 1;
    }
    if port.endpoints.is_empty() {
        return writeln!(out, "  no endpoints");
    }
    writeln!(out, "  endpoints")?;
    let shares = view.shares(explained, port);
    for endpoint in &port.endpoints {
        write_endpoint(out, endpoint, &shares)?;
    }
    Ok(())
}

/// Address or node port, as a client would write it.
fn address(view: &View<'_>, key: &FrontendKey) -> String {
    match *key {
        FrontendKey::Address(address, _, port) => SocketAddr::new(address, port).to_string(),
        FrontendKey::NodePort(family, _, port) => match view.node_address(family) {
            Some(address) => format!("{} (every node)", SocketAddr::new(address, port)),
            None => format!(":{port}, at no address of this node"),
        },
    }
}

fn write_frontend(
    out: &mut String,
    view: &View<'_>,
    port: &ExplainedPort,
    frontend: &ExplainedFrontend,
    depth: usize,
) -> std::fmt::Result {
    let indent = 2 + 2 * depth;
    let stand_in = StandIns::mark(frontend.is_stand_in);
    let title = format!("{} {}{stand_in}", frontend.kind, address(view, &frontend.key));
    let width = 46_usize.saturating_sub(indent);
    if let Some(reason) = &frontend.left_out {
        let style = colour(Severity::Error);
        return writeln!(out, "{:indent$}{title:<width$} {style}not served: {reason}{style:#}", "");
    }
    let used = port.endpoints.iter().filter(|e| e.left_out(frontend.policy).is_none()).count();
    let policy = frontend.policy;
    writeln!(
        out,
        "{:indent$}{title:<width$} policy {policy}, {used} of {}; {}",
        "",
        count(port.endpoints.len(), "endpoint", "endpoints"),
        view.answers(&frontend.key)
    )
}

/// Writes an endpoint, with its share under each policy that is in force.
fn write_endpoint(
    out: &mut String,
    endpoint: &ExplainedEndpoint,
    shares: &[PolicyShares],
) -> std::fmt::Result {
    let pod = endpoint.pod.as_ref().map(|pod| format!(" Pod {pod}")).unwrap_or_default();
    let node = endpoint.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    write!(out, "    {}{}{pod}{node}", endpoint.at, StandIns::mark(endpoint.is_stand_in))?;
    for (policy, of_policy) in shares {
        let label = match (shares.len(), policy) {
            (1, _) => "",
            (_, TrafficPolicy::Cluster) => "Cluster: ",
            (_, TrafficPolicy::Local) => "Local: ",
        };
        match endpoint.left_out(*policy) {
            Some(reason) => write!(out, "\n      {GREY}{label}not used: {reason}{GREY:#}")?,
            None => match of_policy.get(&endpoint.at) {
                Some(share) => {
                    let bar = bar(share);
                    write!(out, "\n      {label}{bar:<20} {share} ({})", percent(share))?;
                }
                None => write!(out, "\n      {label}used")?,
            },
        }
    }
    writeln!(out)
}

/// Returns a bar whose length shows the share, with at most [`BAR`] characters.
fn bar(share: &Probability) -> String {
    let letters = (1..=BAR).take_while(|letter| {
        // The share reaches at least the middle of this character.
        share.to_f64() * 2.0 * f64::from(BAR) >= f64::from(2 * letter - 1)
    });
    "█".repeat(letters.count().max(1))
}

#[cfg(test)]
mod tests;
