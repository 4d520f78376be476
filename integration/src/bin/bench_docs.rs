//! `make bench-docs`: writes the figures that benchmarks stored in `integration/figures` into the documents.
//!
//! Measures nothing. The text between the comments `<!-- figures: NAME -->` and `<!-- end of figures -->` is written by
//! this program; a test runs it with `--check`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser as _;

/// The beginning of figures; the name of the block follows, and then [`CLOSE`].
const BEGIN: &str = "<!-- figures: ";
const CLOSE: &str = " -->\n";
const END: &str = "<!-- end of figures -->";

/// The benchmarks whose figures are shown: the name of a block, the program that prints it, and its arguments.
const BLOCKS: &[(&str, &str, &[&str])] = &[
    ("summary", "bench", &["--from", "bench.json", "--keys", SUMMARY]),
    ("bench", "bench", &["--from", "bench.json"]),
    ("packets", "bench_packets", &["--from", "packets.json"]),
    ("parts", "bench_packets", &["--from", "parts.json"]),
    ("peers", "bench_peers", &["--from", "scale.json"]),
    ("cluster", "bench_cluster", &["--from", "cluster.json"]),
    ("trace", "bench_trace", &["--from", "trace.json"]),
];
/// The rows that the README shows.
const SUMMARY: &str = "cold,swap,restart,rewritten,resident-run";
const DOCUMENTS: [&str; 2] = ["README.md", "docs/benchmarks.md"];

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Write the figures of integration/figures into README.md and docs/benchmarks.md, and draw the picture.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Write nothing: fail if a document is not up to date.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).map_or_else(
        |error| {
            eprintln!("bench_docs: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(arguments: &Arguments) -> Result<()> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no directory above the package")?;
    let mut blocks = Vec::new();
    for (name, program, options) in BLOCKS {
        blocks.push((*name, print(program, options)?));
    }
    let mut current = Vec::new();
    for document in DOCUMENTS {
        let path = top.join(document);
        let text =
            fill(&fs::read_to_string(&path)?, &blocks).map_err(|error| format!("{document}: {error}"))?;
        current.push((path, text));
    }
    let drawing = tempfile::tempdir()?;
    let svg = drawing.path().join("scale.svg");
    print("bench_peers", &["--from", "scale.json", "--svg", svg.to_str().ok_or("a path that is not text")?])?;
    current.push((figures().join("scale.svg"), fs::read_to_string(svg)?));
    for (path, text) in current {
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if arguments.check {
            return Err(format!("{} is stale: run `make bench-docs`", path.display()).into());
        }
        fs::write(path, text)?;
    }
    Ok(())
}

fn figures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures")
}

/// The output of a benchmark whose binary is next to this program.
fn print(program: &str, options: &[&str]) -> Result<String> {
    let path = std::env::current_exe()?.with_file_name(program);
    let output = Command::new(&path).args(options).current_dir(figures()).output();
    let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Replaces the text between the comments.
fn fill(text: &str, blocks: &[(&str, String)]) -> Result<String> {
    let (first, rest) = text.split_once(BEGIN).ok_or("no figures are wanted")?;
    let mut filled = first.to_owned();
    for part in rest.split(BEGIN) {
        let (name, part) = part.split_once(CLOSE).ok_or("a comment that does not end")?;
        let (_, after) = part.split_once(END).ok_or_else(|| format!("the figures {name:?} have no end"))?;
        let (_, figures) = blocks
            .iter()
            .find(|(block, _)| *block == name)
            .ok_or_else(|| format!("no figures are called {name:?}"))?;
        filled.extend([BEGIN, name, CLOSE, "\n", figures.trim(), "\n\n", END, after]);
    }
    Ok(filled)
}
