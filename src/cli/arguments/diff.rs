//! Arguments of `diff`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{DrawOutput, InputArgs};

/// The end of the help.
pub(super) const HELP: &str = "\
Exit status: 0 nothing would change, 1 something would, 2 an error.

Examples:
  portolan diff -f manifests/ && echo in sync
  portolan diff -f manifests/ -o nft
  portolan diff --from old/ -f new/ -o markdown
  portolan diff --from old/ -f new/ -o svg > change.svg";

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// Compare with these manifests rather than with the kernel; may be repeated
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,

    /// Give Services without a ClusterIP, node port or load balancer address stand-ins, as for `run -f`; between two states
    /// of manifests they have them anyway
    #[arg(long, conflicts_with = "no_stand_ins")]
    pub stand_ins: bool,

    /// Draw the Services that differ, before and after in one picture
    #[arg(long)]
    pub draw: bool,

    /// Output format: a line per Service, JSON, a table for a pull request, or a line per object of nft; of a picture, as `draw`
    #[arg(short, long, value_enum, default_value_t = DiffOutput::Text)]
    pub output: DiffOutput,

    /// Input.
    #[command(flatten)]
    pub input: InputArgs,
}

/// Output format of `diff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffOutput {
    /// One line per Service.
    Text,
    /// An object with all changes of each Service.
    Json,
    /// A table.
    Markdown,
    /// One line per object of nftables.
    Nft,
    /// A picture as one SVG file.
    Svg,
    /// A picture as one HTML file.
    Html,
    /// A picture as a flowchart of Mermaid.
    Mermaid,
    /// A picture as a graph for Graphviz.
    Dot,
}

impl DiffArgs {
    /// The notation of a picture, if one is asked for.
    ///
    /// # Errors
    /// The notation is not that of a picture.
    pub const fn picture(&self) -> Result<Option<DrawOutput>, &'static str> {
        match self.output {
            DiffOutput::Svg => Ok(Some(DrawOutput::Svg)),
            DiffOutput::Html => Ok(Some(DrawOutput::Html)),
            DiffOutput::Mermaid => Ok(Some(DrawOutput::Mermaid)),
            DiffOutput::Dot => Ok(Some(DrawOutput::Dot)),
            DiffOutput::Text if self.draw => Ok(Some(DrawOutput::Text)),
            DiffOutput::Json | DiffOutput::Markdown | DiffOutput::Nft if self.draw => {
                Err("--draw: a picture is text, svg, html, mermaid or dot (-o)")
            }
            DiffOutput::Text | DiffOutput::Json | DiffOutput::Markdown | DiffOutput::Nft => Ok(None),
        }
    }
}
