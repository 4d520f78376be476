//! `get commits`: the last commits of the running agent.

use std::{fmt::Write as _, process::ExitCode};

use serde_json::Value;

use crate::{
    cli::{
        arguments::{CommitsArgs, CommitsOutput},
        explain::{self, agent, socket},
    },
    config::settings::Settings,
    text::one_line,
};

/// Lists the last commits, the newest first: exit status 0, or 2 for an error.
pub fn commits(args: &CommitsArgs) -> ExitCode {
    let asked = Settings::new(&args.view.options.0).map_err(|error| error.to_string()).and_then(|settings| {
        let socket = agent::socket_of(&args.view, &settings);
        let text = socket::get(&socket, "/commits").map_err(|error| error.to_string())?;
        serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
    });
    let answer = match asked {
        Ok(answer) => answer,
        Err(message) => {
            eprintln!("portolan: {}", one_line(message));
            return explain::error();
        }
    };
    let text = match args.output {
        Some(CommitsOutput::Json) => format!("{answer:#}\n"),
        None => text(&answer),
    };
    super::super::print(text.as_bytes())
}

/// Lines for people.
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

fn write(text: &mut String, commit: &Value) {
    let word = |field: &str| commit[field].as_str().unwrap_or_default().to_owned();
    let count = |field: &str| commit[field].as_u64().unwrap_or_default();
    let outcome = if commit["succeeded"] == true { "" } else { " FAILED" };
    // Writing into a `String` does not fail.
    let _ = write!(
        text,
        "{}{outcome} {}: {} operations in {:.1} ms",
        word("at"),
        word("cause"),
        count("operations"),
        commit["seconds"].as_f64().unwrap_or_default() * 1000.0
    );
    let listed = |field: &str| {
        let values = commit[field].as_array().into_iter().flatten();
        values.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let objects = listed("objects");
    if !objects.is_empty() {
        let more = count("changes").saturating_sub(objects.len() as u64);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let _ = write!(text, ", for {}{more}", objects.join(", "));
    }
    text.push('\n');
    if let Some(error) = commit["error"].as_str() {
        let _ = writeln!(text, "  {error}");
    }
    let sample = listed("sample");
    for operation in &sample {
        let _ = writeln!(text, "  {operation}");
    }
    let more = count("operations").saturating_sub(sample.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "  … and {more} more");
    }
}
