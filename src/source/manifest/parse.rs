//! Reads the objects in the text of a file.

use std::fmt::Write as _;

use serde_saphyr::{Budget, Options};

use super::{
    contents::{Contents, FileProblem},
    document::{self, Document},
    kubectl_yaml, mistake, parallel, size,
    split::{self, Part},
};
use crate::api::Context;

/// Size of the pieces that are read separately, where a file can be cut.
const PIECE: usize = 256 << 10;

/// Reads the text of a manifest: YAML documents, JSON objects, or a mixture of both.
///
/// Never fails: errors are part of the contents.
pub(super) fn parse(bytes: &[u8], context: &mut Context) -> Contents {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count() as u64;
            return unreadable(Some(line), "is not UTF-8 text");
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut contents = Contents::default();
    let documents = split::documents(text);
    let mut size = 0;
    let groups: Vec<&[Part<'_>]> = documents
        .chunk_by(|part, next| {
            size += part.text.len();
            let fits = size + next.text.len() <= PIECE;
            if !fits {
                size = 0;
            }
            fits
        })
        .collect();
    let read = parallel::map(&groups, context, |group, context| {
        let mut contents = Contents::default();
        for part in *group {
            contents.append(parse_part(part, context));
        }
        contents
    });
    for group in read {
        contents.append(group);
    }
    contents
}

/// Contents that cannot be read as YAML or JSON.
fn unreadable(line: Option<u64>, message: impl Into<String>) -> Contents {
    Contents::broken(FileProblem::Text { line, message: message.into() })
}

fn parse_part(part: &Part<'_>, context: &mut Context) -> Contents {
    let contents = parse_document(part, context);
    if contents.errors.is_empty() || !contents.objects.is_empty() {
        return contents;
    }
    match mistake::recognise(part.text) {
        Some((line, message)) => unreadable(line.map(|line| part.lines_before + line), message),
        None => contents,
    }
}

fn parse_document(part: &Part<'_>, context: &mut Context) -> Contents {
    if let Some(line) = size::oversized_by(part, size::OBJECT) {
        let message = format!("an object is larger than {} MiB", size::OBJECT >> 20);
        return unreadable(Some(line), message);
    }
    let body = split::without_separator(part.text);
    if body.trim_start().starts_with('{') {
        match parse_json(body, part, context) {
            Ok(contents) => return contents,
            Err(error) if error.is_eof() => {
                let line = part.lines_before + error.line() as u64;
                return unreadable(Some(line), "ends in the middle of a JSON object");
            }
            // The braces may be YAML. For text that is neither, the YAML parser has no worse message.
            Err(_) => {}
        }
    }
    if let Some(contents) = parse_list(part, context) {
        return contents;
    }
    match parse_yaml(part.text, part, context) {
        Ok(contents) => contents,
        Err(error) => {
            let line = |number: u64| part.text.lines().nth((number as usize).checked_sub(1)?);
            let is_tabbed = |number: &u64| line(*number).is_some_and(|line| line.starts_with('\t'));
            // The parser reports a tab at the line before it.
            let noticed = error.location().map(|location| location.line());
            let number = noticed.map(|number| Some(number + 1).filter(is_tabbed).unwrap_or(number));
            let line = number.and_then(line);
            unreadable(number.map(|number| part.lines_before + number), mistake::explain(&error, line))
        }
    }
}

/// Reads a long YAML list in pieces. Returns `None` if the text is not such a list, or is invalid: errors have better
/// messages when the text is read as a whole.
fn parse_list(part: &Part<'_>, context: &mut Context) -> Option<Contents> {
    if part.text.len() < 2 * PIECE {
        return None;
    }
    let list = split::list(part, PIECE)?;
    let mut is_list = false;
    let mut sink = |_: &[usize], object: Document| {
        is_list = object.kind.get().is_some_and(|kind| kind.ends_with("List"));
    };
    serde_saphyr::with_deserializer_from_str_with_options(&list.envelope, options(), |deserializer| {
        document::read(deserializer, &mut sink)
    })
    .ok()?;
    if !is_list {
        return None;
    }
    let read = parallel::map(&list.pieces, context, |piece, context| {
        parse_yaml(&format!("items:\n{}", piece.text), piece, context)
    });
    let mut contents = Contents::default();
    for piece in read {
        contents.append(piece.ok()?);
    }
    contents.errors.is_empty().then_some(contents)
}

fn parse_yaml(text: &str, part: &Part<'_>, context: &mut Context) -> Result<Contents, serde_saphyr::Error> {
    if let Some(json) = kubectl_yaml::to_json(text)
        && let Ok(contents) = parse_json(&json, part, context)
    {
        return Ok(contents);
    }
    let mut contents = Contents::default();
    let mut sink = |path: &[usize], object| contents.add(&|| place(part, path), object, context);
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        document::read(deserializer, &mut sink)
    })?;
    Ok(contents)
}

/// Reads JSON objects that follow each other.
fn parse_json(text: &str, part: &Part<'_>, context: &mut Context) -> Result<Contents, serde_json::Error> {
    let mut contents = Contents::default();
    let mut rest = text;
    loop {
        let mut deserializer = serde_json::Deserializer::from_str(rest);
        let mut sink = |path: &[usize], object| contents.add(&|| place(part, path), object, context);
        document::read(&mut deserializer, &mut sink)?;
        let Err(error) = deserializer.end() else { return Ok(contents) };
        // The error points at what follows the object: another object, or something invalid.
        let lines = rest.split_inclusive('\n').take(error.line().saturating_sub(1));
        let offset = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        match rest.get(offset..) {
            Some(next) if offset > 0 && next.starts_with('{') => rest = next,
            _ => return Err(error),
        }
    }
}

/// Limits of nesting and of the expansion of aliases, which only hostile manifests exceed.
fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_events = usize::MAX;
    budget.max_nodes = usize::MAX;
    budget.max_total_scalar_bytes = usize::MAX;
    budget.max_depth = size::YAML_DEPTH;
    budget.flow_nesting_limit = size::YAML_DEPTH;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.with_snippet = false;
    options.non_finite_float_policy = serde_saphyr::options::NonFiniteFloatPolicy::AsString;
    options
}

/// The place of an object without a name: `document 2, items[3]`.
fn place(part: &Part<'_>, path: &[usize]) -> String {
    let mut place = format!("document {}", part.document);
    for (depth, i) in path.iter().enumerate() {
        let (separator, before) = if depth == 0 { (", ", part.items_before) } else { (".", 0) };
        // Writing to a String cannot fail.
        _ = write!(place, "{separator}items[{}]", before + i);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_kubectl_writes_them_are_read_in_pieces() {
        let item = "- apiVersion: v1\n  kind: ConfigMap\n  data: {}\n";
        let text = format!("apiVersion: v1\nitems:\n{}kind: List\nmetadata: {{}}\n", item.repeat(20_000));
        let part = |text| Part { text, lines_before: 0, document: 1, items_before: 0 };
        let contents = parse_list(&part(&text), &mut Context::default()).unwrap();
        assert_eq!(contents.ignored.values().sum::<usize>(), 20_000);

        let without_kinds = text.replace("  kind: ConfigMap\n", "");
        assert!(parse_list(&part(&without_kinds), &mut Context::default()).is_none());
        let of_another_kind = text.replace("kind: List", "kind: Basket");
        assert!(parse_list(&part(&of_another_kind), &mut Context::default()).is_none());
    }
}
