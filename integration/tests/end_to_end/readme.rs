//! The README's walk-through, command by command: what it shows is what is printed.

use std::path::Path;

use portolan_integration::{Namespace, binary};

const README: &str = include_str!("../../../README.md");

/// A command, and the lines that it prints.
type Step<'a> = (&'a str, Vec<&'a str>);

/// The commands of the walk-through: all blocks in which the demo's manifests are given to the binary.
fn steps() -> Vec<Step<'static>> {
    let blocks = README.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let blocks = blocks.filter(|block| block.contains("-f 4-load-balancer.yaml"));
    let mut steps: Vec<Step<'static>> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        let command =
            line.strip_prefix("$ ").or(line.strip_prefix("# ").filter(|rest| rest.starts_with("portolan")));
        match (command, steps.last_mut()) {
            (Some(command), _) => steps.push((command, Vec::new())),
            (None, Some((_, output))) => output.push(line),
            (None, None) => panic!("{line:?} is no command's"),
        }
    }
    steps
}

/// A line of the log without what is never the same: time, process, line of the source, the kernel and its features.
fn lasting(line: &str) -> &str {
    let is_log = line.starts_with('I') && line.contains(".rs:");
    let Some((_, rest)) = line.split_once("] ").filter(|_| is_log) else { return line };
    rest.split_once(" kernel=").map_or(rest, |(start, _)| start)
}

#[test]
fn the_walk_through_shows_what_is_printed() {
    let namespace = Namespace::new("readme").unwrap_or_else(|error| panic!("{error}"));
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let binary = binary().unwrap();
    let steps = steps();
    let (first, rest) = steps.split_first().unwrap();
    assert_eq!(first.0, "cd integration/examples/demo");
    assert!(rest.len() >= 5, "{rest:?}");
    for (command, shown) in rest {
        let script = format!(
            "PATH={}:$PATH; cd {} && {{ {command}; }} 2>&1",
            binary.parent().unwrap().display(),
            demo.display()
        );
        let output = namespace.output("sh", &["-c", &script], "").unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed: Vec<&str> = printed.lines().map(lasting).collect();
        let shown: Vec<&str> = shown.iter().map(|line| lasting(line)).collect();
        assert_eq!(printed, shown, "{command}");
    }
}
