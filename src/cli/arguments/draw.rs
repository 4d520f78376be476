//! Arguments of `draw`.

use clap::{Args, ValueEnum};

use super::view::ViewArgs;

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 drawn, 1 there is no Service of that name, 2 an error.

Examples:
  portolan draw shop/web -f manifests/ --node node-1
  portolan draw -n shop web api -f manifests/ -o svg > shop.svg
  portolan draw -f manifests/ -o html > services.html";

/// Arguments of `draw`.
#[derive(Args, Debug)]
pub struct DrawArgs {
    /// Services to draw: NAME or NAMESPACE/NAME; all of them without a name
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Namespace of names without one; without names, draw the Services of this namespace only
    #[arg(short, long)]
    pub namespace: Option<String>,

    /// Output format of the picture
    #[arg(short, long, value_enum, default_value_t = DrawOutput::Text)]
    pub output: DrawOutput,

    /// Whose view it is.
    #[command(flatten)]
    pub view: ViewArgs,
}

/// Output format of `draw`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrawOutput {
    /// Letters, 80 columns wide.
    Text,
    /// One SVG file, for light and dark.
    Svg,
    /// One HTML file with the picture and a table, without a script.
    Html,
    /// A flowchart of Mermaid, which code hosting sites show in Markdown.
    Mermaid,
    /// A graph for Graphviz.
    Dot,
}
