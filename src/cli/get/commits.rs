//! `get commits`: the last commits of the running agent.

use std::fmt::Write as _;

use portolan_rules::picture::count;
use serde_json::Value;

use super::arguments::{CommitsArgs, CommitsOutput};
use crate::{
    cli::{
        explain::agent,
        output::{self, Ended},
    },
    config::settings::Settings,
};

/// Lists the last commits, the newest first. Exit status: 0, or 2 for an error.
pub fn commits(args: &CommitsArgs) -> Ended {
    let settings = Settings::new(&args.view.source.options.0)?;
    let answer = agent::commits(&agent::socket_of(args.view.socket.as_deref(), &settings))?;
    let text = match args.output {
        Some(CommitsOutput::Json) => format!("{answer:#}\n"),
        None => text(&answer),
    };
    output::end(text, 0)
}

/// Returns the commits in lines for people.
pub fn text(answer: &Value) -> String {
    let mut text = String::new();
    for commit in answer["commits"].as_array().into_iter().flatten() {
        write(&mut text, commit);
    }
    if text.is_empty() {
        text.push_str("no commits yet\n");
    }
    if !answer["lastFailure"].is_null() {
        text.push_str("\nThe last that failed:\n");
        write(&mut text, &answer["lastFailure"]);
    }
    text
}

/// Returns a commit in one line, without its time.
pub fn summary(commit: &Value) -> String {
    let number = |field: &str| commit[field].as_u64().unwrap_or_default() as usize;
    let outcome = if commit["succeeded"] == true { "" } else { "FAILED " };
    let mut text = format!(
        "{outcome}{}: {} in {:.1} ms",
        commit["cause"].as_str().unwrap_or_default(),
        count(number("operations"), "operation", "operations"),
        commit["seconds"].as_f64().unwrap_or_default() * 1000.0
    );
    let objects = listed(commit, "objects");
    if !objects.is_empty() {
        text.push_str(", for ");
        text.push_str(&objects.join(", "));
        let more = number("changes").saturating_sub(objects.len());
        if more > 0 {
            // Writing into a `String` does not fail.
            let _ = write!(text, " and {}", count(more, "more object", "more objects"));
        }
    }
    text
}

fn listed<'a>(commit: &'a Value, field: &str) -> Vec<&'a str> {
    commit[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn write(text: &mut String, commit: &Value) {
    // Writing into a `String` does not fail.
    let _ = writeln!(text, "{} {}", commit["at"].as_str().unwrap_or_default(), summary(commit));
    if let Some(error) = commit["error"].as_str() {
        let _ = writeln!(text, "  {error}");
    }
    let sample = listed(commit, "sample");
    for operation in &sample {
        let _ = writeln!(text, "  {operation}");
    }
    let all = commit["operations"].as_u64().unwrap_or_default() as usize;
    let more = all.saturating_sub(sample.len());
    if more > 0 {
        let _ = writeln!(text, "  and {}", count(more, "more operation", "more operations"));
    }
}
