//! The last commits: what they changed and why, and the last failed commit.

use jiff::Timestamp;
use maud::{Markup, html};
use portolan_rules::picture::{count, number};

use crate::observe::{
    history::{Committed, History},
    report::Cause,
    server::status::span,
};

/// The page.
pub fn page(history: &History, now: Timestamp) -> Markup {
    let (commits, failure) = history.commits();
    html! {
        h1 { "Commits" }
        p.dim { "What was last written to the kernel, the newest first, and why." }
        @if let Some(failure) = &failure {
            h2 { "The last that failed" }
            (commit(history, failure, now))
        }
        h2 { "The last " (commits.len()) }
        @if commits.is_empty() { p { "Nothing has been written yet." } }
        @for committed in &commits { "\n" (commit(history, committed, now)) }
    }
}

fn commit(history: &History, committed: &Committed, now: Timestamp) -> Markup {
    let operations = history.operations(committed);
    let rest = committed.operations.saturating_sub(operations.len());
    let objects: Vec<String> = committed.objects.iter().map(ToString::to_string).collect();
    let others = committed.changes.saturating_sub(objects.len());
    html! {
        details {
            summary {
                @if committed.succeeded { span.good { "✓" } } @else { span.bad { "✗" } }
                " " (span(now.duration_since(committed.at).unsigned_abs())) " ago: " (count(committed.operations, "operation", "operations")) " in "
                (format!("{:.1?}", committed.duration)) ", " (why(committed.cause))
                @if !objects.is_empty() { ": " (objects.join(", ")) }
                @if others > 0 { " and " (number(others)) " more" }
            }
            p.dim { (committed.at) }
            @if let Some(error) = &committed.error { p.bad { (error) } }
            @if !operations.is_empty() {
                pre { @for operation in &operations { (operation) "\n" } @if rest > 0 { "and " (number(rest)) " more\n" } }
            }
        }
    }
}

/// Why the commit was made, in words.
const fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::Start => "at the start",
        Cause::Change => "because something changed",
        Cause::Retry => "because the last commit failed or left something to do",
        Cause::Repair => "because another process had changed the tables",
        Cause::Period => "because everything is compared from time to time",
    }
}
