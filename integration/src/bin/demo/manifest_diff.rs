//! The differences between two manifests, object by object.

use similar::{ChangeTag, TextDiff};

/// The objects that differ, each under its kind and name, and their lines that differ, with one line of context
/// around each place. Lines start with `+`, `-` or a blank; headings with their kind.
pub(crate) fn changes(old: &str, new: &str) -> Vec<String> {
    let before: Vec<_> = objects(old).collect();
    let mut lines = Vec::new();
    for object in objects(new) {
        let title = title(object);
        match before.iter().find(|other| self::title(other) == title) {
            Some(other) if *other == object => {}
            Some(other) => {
                lines.push(title);
                lines.extend(line_changes(other, object));
            }
            None => {
                lines.push(format!("{title} (new)"));
                lines.extend(object.lines().map(|line| format!("+ {line}")));
            }
        }
    }
    lines
}

fn objects(manifest: &str) -> impl Iterator<Item = &str> {
    // The comment on top belongs to the file, not to its first object.
    manifest.split("---\n").map(|object| {
        object
            .split_once("apiVersion:")
            .map_or(object, |(comment, _)| object.get(comment.len()..).unwrap_or(object))
    })
}

/// `Service service-python`.
fn title(object: &str) -> String {
    let field =
        |name: &str| object.lines().find_map(|line| line.trim_start().strip_prefix(name)).unwrap_or("?");
    format!("{} {}", field("kind: "), field("name: "))
}

fn line_changes(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let groups = diff.grouped_ops(1);
    let lines = groups.iter().flatten().flat_map(|operation| diff.iter_changes(operation));
    let lines = lines.map(|change| {
        let sign = match change.tag() {
            ChangeTag::Insert => '+',
            ChangeTag::Delete => '-',
            ChangeTag::Equal => ' ',
        };
        format!("{sign} {}", change.value().trim_end())
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_compared_by_kind_and_name() {
        let old = "# all\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: Service\nname: s\ntype: x\n";
        let new = "# all\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: Pod\nname: b\n---\n\
                   apiVersion: v1\nkind: Service\nname: s\ntype: y\n";
        let expected = [
            "Pod b (new)",
            "+ apiVersion: v1",
            "+ kind: Pod",
            "+ name: b",
            "Service s",
            "  name: s",
            "- type: x",
            "+ type: y",
        ];
        assert_eq!(changes(old, new), expected);
    }
}
