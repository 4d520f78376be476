//! The walk-through that `make demo` runs, and its output in the documents.

use std::process::Command;

const DOCUMENT: &str = include_str!("../../../docs/reading-the-rules.md");

/// Returns a line without the parts that differ between runs: times, and numbers of connections with their bars.
fn lasting(line: &str) -> String {
    let is_counted = line.contains(['█', '▌', '▍']) || line.contains(" ms after");
    let differs = |c: char| is_counted && (c.is_ascii_digit() || matches!(c, ' ' | '▁'..='▏'));
    line.trim_end().chars().filter(|c| !differs(*c)).collect()
}

#[test]
fn every_act_does_what_it_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).env("NO_COLOR", "1").output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    for act in 1..=5 {
        assert!(stdout.contains(&format!("Act {act}")), "{stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "no escape sequences with NO_COLOR:\n{stdout}");

    let shown = DOCUMENT.split("```text\n").find(|block| block.starts_with("━━ Act")).unwrap();
    let shown: Vec<String> = shown.lines().take_while(|line| *line != "```").map(lasting).collect();
    let printed: Vec<String> = stdout.lines().map(lasting).collect();
    let start = printed.iter().position(|line| *line == shown[0]).unwrap_or_else(|| panic!("{}", shown[0]));
    let printed = printed[start..].iter().take(shown.len());
    assert!(shown.len() > 20 && printed.clone().eq(&shown), "{:#?}\n{shown:#?}", printed.collect::<Vec<_>>());

    // The page needs no other file.
    let path = stdout.lines().find_map(|line| line.strip_prefix("The same with pictures: ")).unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    for part in
        ["Act 5: a Service that does not answer", "<svg", "✗ dropped", "run=pod-pyhton matches no Pod"]
    {
        assert!(page.contains(part), "{part} is not in {path}");
    }
    for part in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!page.contains(part), "{part} is in {path}");
    }
}
