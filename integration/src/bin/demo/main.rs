//! The walk-through: what a Service is, shown with real packets in a lab of two nodes.
//!
//! Five acts, each a change of a manifest under `integration/examples/demo`: what the file changes,
//! which elements in the kernel change with it, and how the traffic changes. The exit code is 0
//! only if every act showed what it describes.
#![forbid(unsafe_code)]

mod acts;
mod manifest_diff;
mod no_answer;
mod picture;
mod stage;
mod story;
mod style;

use std::{process::ExitCode, time::Instant};

use acts::Cast;
use stage::{DemoError, Stage};
use style::Style;

fn main() -> ExitCode {
    match play() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play() -> Result<bool, DemoError> {
    let start = Instant::now();
    let style = Style::detect();
    let mut stage = Stage::new(style, "1-no-service.yaml")?;
    println!("{}\n", style.bold(TITLE));
    for line in MAP {
        println!("  {line}");
    }
    let mut cast = Cast::new(&stage)?;
    acts::no_service(&mut stage, &mut cast)?;
    acts::cluster_ip(&mut stage, &mut cast)?;
    acts::node_port(&mut stage)?;
    acts::load_balancer(&mut stage)?;
    no_answer::no_answer(&mut stage)?;
    let page = stage.write_page(TITLE, &MAP)?;
    let failures = stage.failures().to_vec();
    println!();
    if failures.is_empty() {
        let seconds = start.elapsed().as_secs_f32();
        println!("{}", style.green(&format!("Every act did what it says ({seconds:.1} s).")));
        println!("The same with pictures: {}", page.display());
    }
    for failure in &failures {
        println!("{}", style.red(&format!("Not as described: {failure}")));
    }
    Ok(failures.is_empty())
}

/// The title.
const TITLE: &str = "What a Service is: two nodes, three kinds of Service, real packets.";

/// The lab, for the audience.
const MAP: [&str; 9] = [
    "                                     192.0.2.11 ╭──── node-a ────╮ 172.16.0.11",
    "  ╭───────────────╮   ╭────────╮   ╭────────────┤  pod-nginx     ├────╮",
    "  │    client     ├───┤ router ├───┤            ╰────────────────╯    │ inside",
    "  │ 203.0.113.10  │   ╰────────╯   │ outside                           │ network",
    "  ╰───────────────╯                │ 192.0.2.12 ╭──── node-b ────╮    │",
    "                                   ╰────────────┤  pod-python    ├────╯",
    "                                                ╰────────────────╯ 172.16.0.12",
    "",
    "portolan runs on both nodes and watches the manifest.",
];
