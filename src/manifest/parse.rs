//! From the text of a file to its objects.

use std::fmt::Write as _;

use serde_saphyr::{Budget, Options};

use super::{contents::Contents, document};
use crate::api::Context;

/// How deeply mappings and lists of YAML may be nested: manifests need 20 levels, the schemas of custom
/// resource definitions twice that. Half of what `serde_json` allows, since each level takes more stack.
const DEPTH: usize = 64;

/// Reads the text of a manifest: YAML documents, JSON objects, or a mixture of both.
///
/// Never fails: what cannot be read is among the errors of the contents.
pub(super) fn parse(bytes: &[u8], context: &mut Context) -> Contents {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() as u64;
            return Contents::broken(Some(line), "is not UTF-8 text".to_owned());
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut contents = Contents { is_blank: text.trim().is_empty(), ..Contents::default() };
    let mut number = 0;
    for part in split(text) {
        if is_blank(part.text) {
            continue;
        }
        number += 1;
        contents.append(parse_part(&part, number, context));
    }
    contents
}

/// One document of a file.
struct Part<'a> {
    text: &'a str,
    /// Lines of the file before it.
    lines_before: u64,
}

/// Splits a file at its document separators. A line that starts with `---` is one wherever it stands:
/// YAML does not allow it in a scalar, and JSON has no line breaks in strings.
fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut lines_before) = (0, 0);
    let (mut offset, mut lines) = (0, 0);
    for line in text.split_inclusive('\n') {
        let so_far = text.get(start..offset).unwrap_or_default();
        // Directives (`%YAML 1.2`) stand before the separator of their own document.
        if is_separator(line) && !so_far.trim_start().starts_with('%') {
            parts.push(Part { text: so_far, lines_before });
            (start, lines_before) = (offset, lines);
        }
        offset += line.len();
        lines += 1;
    }
    parts.push(Part { text: text.get(start..).unwrap_or_default(), lines_before });
    parts
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether nothing but comments, white space and the separator is there.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = if is_separator(line) { line.get(3..).unwrap_or_default() } else { line }.trim();
        line.is_empty() || line.starts_with('#')
    })
}

fn parse_part(part: &Part<'_>, number: usize, context: &mut Context) -> Contents {
    let body = if is_separator(part.text) { part.text.get(3..).unwrap_or_default() } else { part.text };
    if body.trim_start().starts_with('{') {
        match parse_json(body, number, context) {
            Ok(contents) => return contents,
            Err(error) if error.is_eof() => {
                let message = "ends in the middle of a JSON object".to_owned();
                return Contents::broken(Some(part.lines_before + error.line() as u64), message);
            }
            // Braces may also be YAML's; what is neither, YAML explains no worse.
            Err(_) => {}
        }
    }
    match parse_yaml(part.text, number, context) {
        Ok(contents) => contents,
        Err(error) => {
            let line = error.location().map(|location| part.lines_before + location.line());
            Contents::broken(line, without_place(&error.to_string()))
        }
    }
}

fn parse_yaml(text: &str, number: usize, context: &mut Context) -> Result<Contents, serde_saphyr::Error> {
    let mut contents = Contents::default();
    let mut sink = |path: &[usize], object| contents.add(&|| place(number, path), object, context);
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        document::read(deserializer, &mut sink)
    })?;
    Ok(contents)
}

/// Reads JSON objects that follow each other.
fn parse_json(text: &str, number: usize, context: &mut Context) -> Result<Contents, serde_json::Error> {
    let mut contents = Contents::default();
    let mut rest = text;
    loop {
        let mut deserializer = serde_json::Deserializer::from_str(rest);
        let mut sink = |path: &[usize], object| contents.add(&|| place(number, path), object, context);
        document::read(&mut deserializer, &mut sink)?;
        let Err(error) = deserializer.end() else { return Ok(contents) };
        // The error points at what follows the object: another object, or rubbish.
        let lines = rest.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        match rest.get(offset..) {
            Some(next) if offset > 0 && next.starts_with('{') => rest = next,
            _ => return Err(error),
        }
    }
}

/// Limits that no manifest meets, however many objects it lists, and that a hostile one does: nesting
/// and what aliases expand to.
fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_events = usize::MAX;
    budget.max_nodes = usize::MAX;
    budget.max_total_scalar_bytes = usize::MAX;
    budget.max_depth = DEPTH;
    budget.flow_nesting_limit = DEPTH;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.with_snippet = false;
    options.non_finite_float_policy = serde_saphyr::options::NonFiniteFloatPolicy::AsString;
    options
}

/// Where an object without a name is: `document 2, items[3]`.
fn place(number: usize, path: &[usize]) -> String {
    let mut place = format!("document {number}");
    for (depth, i) in path.iter().enumerate() {
        let separator = if depth == 0 { ", " } else { "." };
        // Writing to a String cannot fail.
        _ = write!(place, "{separator}items[{i}]");
    }
    place
}

/// A parser's message in one line, without the line number that it ends in: that counts from the
/// beginning of the document.
fn without_place(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match message.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => message,
    }
}
