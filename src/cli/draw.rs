//! `draw`: pictures of Services.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use portolan_rules::{
    explanation::ExplainedService,
    model::ObjectName,
    picture::{self, Picture},
};

use super::{
    arguments::ViewArgs,
    explain::{Scene, object_name},
    output::{CommandError, Ended},
};
use crate::observe::query::Wanted;

/// The text at the end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 drawn, 1 there is no Service of that name, 2 an error.

Examples:
  portolan draw shop/web -f manifests/ --node node-1
  portolan draw -n shop web api -f manifests/ -o svg > shop.svg
  portolan draw -f manifests/ -o html > services.html";

/// Arguments of `draw`.
#[derive(Args, Debug)]
pub struct DrawArgs {
    /// Services to draw, NAME or NAMESPACE/NAME [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Namespace of names without one; without names, draw the Services of this namespace only
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Output format of the picture
    #[arg(short, long, value_enum, default_value_t = DrawOutput::Text)]
    pub output: DrawOutput,

    /// The node whose view is drawn.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `draw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrawOutput {
    /// Text, 80 columns wide.
    Text,
    /// One SVG file, for light and dark mode.
    Svg,
    /// One HTML file with the picture and a table, without a script.
    Html,
    /// A flowchart of Mermaid, which code hosting sites show in Markdown.
    Mermaid,
    /// A graph for Graphviz.
    Dot,
}

/// Draws Services. Exit status: 0, 1 if a named Service does not exist, 2 for an error.
pub fn draw(args: &DrawArgs) -> Ended {
    let names = names(args);
    let wanted = Wanted::of(&names, args.namespace.as_deref());
    let scene = Scene::open_for(&args.view, &wanted)?;
    let view = scene.view();
    let services = services(args, &names, &scene)?;
    let picture = picture::picture(&view, &services, &scene.origin);
    scene.print(write(&picture, args.output).as_bytes(), true)
}

/// Returns the given names, each once, in order.
fn names(args: &DrawArgs) -> Vec<ObjectName> {
    let default = args.namespace.as_deref().unwrap_or("default");
    let names: BTreeSet<ObjectName> = args.names.iter().map(|name| object_name(name, default)).collect();
    names.into_iter().collect()
}

/// Returns the Services of these names. Without names, returns all Services, or all Services of the given namespace.
fn services(
    args: &DrawArgs,
    names: &[ObjectName],
    scene: &Scene,
) -> Result<Vec<ExplainedService>, CommandError> {
    if names.is_empty() {
        let mut all = scene.view().services();
        if let Some(namespace) = &args.namespace {
            all.retain(|explained| *explained.service.name.namespace == **namespace);
        }
        return Ok(all);
    }
    names.iter().map(|name| scene.service(&args.view, name)).collect()
}

/// Returns the picture in this notation.
pub(super) fn write(picture: &Picture, output: DrawOutput) -> String {
    match output {
        DrawOutput::Text => picture::text(picture),
        DrawOutput::Svg => picture::svg(picture),
        DrawOutput::Html => picture::html(picture),
        DrawOutput::Mermaid => picture::mermaid(picture),
        DrawOutput::Dot => picture::dot(picture),
    }
}
