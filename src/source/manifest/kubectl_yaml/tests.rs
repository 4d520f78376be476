use proptest::{prelude::*, sample::select};
use serde_json::Value;

use super::to_json;

/// What the YAML parser reads.
fn parsed(yaml: &str) -> Result<Value, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

const PRINTED: &str = r#"apiVersion: v1
items:
- apiVersion: discovery.k8s.io/v1
  addressType: IPv4
  endpoints:
  - addresses:
    - 10.244.1.7
    conditions:
      ready: true
    targetRef:
      kind: Pod
      uid: 3f1c2a00-58cc-4372-a567-0e02b2c3d479
    zone: null
  kind: EndpointSlice
  ports:
  - name: ""
    port: 8080
- apiVersion: v1
  kind: Service
  metadata:
    annotations:
      kubectl.kubernetes.io/last-applied-configuration: |
        {"apiVersion":"v1","metadata":{"annotations":{}, "note": "a\\b"}}

        # not a comment
      note: 'it''s "quoted"'
    creationTimestamp: "2026-11-28T10:00:00Z"
    labels: {}
    managedFields:
    - fieldsV1:
        f:metadata:
          f:annotations:
            .: {}
            k:{"port":80,"protocol":"TCP"}:
              f:port: {}
      manager: kubectl-client-side-apply
  spec:
    clusterIPs:
    - fd00::1
    - 2001:db8::1
    ports:
    - port: 80
      targetPort: http-web
    # A comment.
    selector:
      app.kubernetes.io/name: web
      path: /healthz

    sessionAffinity:
    type: ClusterIP
kind: List
metadata:
  resourceVersion: ""
"#;

#[test]
fn what_kubectl_prints_is_translated() {
    let json = to_json(PRINTED).expect("all of it is translated");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), parsed(PRINTED).unwrap(), "{json}");
}

#[test]
fn what_could_mean_something_else_is_left_to_the_parser() {
    for text in [
        "",
        "a",
        "a: 1\na: 2\n",
        "a: yes\n",
        "a: 010\n",
        "a: 1e3\n",
        "a: 1.5\n",
        "a: 12:30\n",
        "a: ~\n",
        "a: b # c\n",
        "a: b\n  c\n",
        "a: b: c\n",
        "a: [b]\n",
        "a: &b c\n",
        "a: !!str b\n",
        "a: >\n  b\n",
        "a: |\n  b",
        "a: \"b\n  c\"\n",
        "a: \"\\x41\"\n",
        "a: 'b\n",
        "a: caf\u{e9}\n",
        "a: \tb\n",
        "a: b\r\n",
        "\ta: b\n",
        "  a: b\nc: d\n",
        "a: b\n  c: d\n",
        "a: b\n- c\n",
        "- a\n  - b\n",
        "- a\nb: c\n",
        "--- a\n",
        "a: b\n---\nc: d\n",
        "a: b\n...\n",
        "<<: {}\n",
        "1: a\n",
        "true: a\n",
        "? a\n",
    ] {
        assert_eq!(to_json(text), None, "{text:?}");
    }
}

/// A document as a tree.
#[derive(Clone, Debug)]
enum Tree {
    Scalar(String),
    Literal(Vec<String>),
    Mapping(Vec<(String, Tree)>),
    List(Vec<Tree>),
}

fn key() -> impl Strategy<Value = String> {
    let plain = ["a", "b", "c", "d", "e", "f:x", ".", "k:{\"p\":1}", "\"g\""];
    let doubtful = ["e ", "yes", "1", "~", "'h'", "- i", "?", "<<", "\"j\\n\""];
    prop_oneof![40 => select(plain.to_vec()), 1 => select(doubtful.to_vec())].prop_map(str::to_owned)
}

fn scalar() -> impl Strategy<Value = String> {
    let plain = [
        "text", "null", "true", "0", "12", "1.2.3.4", "1-2-3", "1::2", "100m", "5k", "''", "'it''s'",
        "\"a\\n\"", "\"\\\"\"", "{}", "[]", "/a", "-c", "--d=1", "a #c", "", " x",
    ];
    let doubtful = "no ~ 08 1.5 1e3 0x1f 2e-1- 12:30 1:2:3 ::1 1_000 ''' | |- > x: - -- -1 -inf *a .inf .5 %a @a a\tb é nan \
                    Infinity --- ... 2001-01-01 1k-1 1..2 1e1.0.";
    let of_several = ["{a: b}", "# c", "a # c", "a: b", "- a", "&a b", "!x y"];
    let doubtful: Vec<&str> = doubtful.split(' ').chain(of_several).collect();
    let plain = select(plain.to_vec()).prop_map(str::to_owned);
    let doubtful = select(doubtful).prop_map(str::to_owned);
    prop_oneof![20 => plain, 1 => doubtful, 1 => "[a-z0-9:.#'\" _-]{0,6}"]
}

fn tree() -> impl Strategy<Value = Tree> {
    let literal = prop::collection::vec("[a-z\" :#\\\\]{0,4}", 1..4).prop_map(Tree::Literal);
    let leaf = prop_oneof![8 => scalar().prop_map(Tree::Scalar), 1 => literal];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let mapping = prop::collection::vec((key(), inner.clone()), 1..4).prop_map(Tree::Mapping);
        prop_oneof![mapping, prop::collection::vec(inner, 1..4).prop_map(Tree::List)]
    })
}

/// The lines of a tree at this column. Below a key, lists are indented by `list` more columns.
fn print(tree: &Tree, column: usize, list: usize) -> Vec<String> {
    let blanks = " ".repeat(column);
    match tree {
        Tree::Scalar(text) => vec![format!("{blanks}{text}")],
        Tree::Literal(lines) => lines.iter().map(|line| format!("{blanks}{line}")).collect(),
        Tree::List(items) => {
            let mut printed = Vec::new();
            for item in items {
                let mut lines = print(item, column + 2, list);
                lines[0].replace_range(column..column + 2, "- ");
                printed.extend(lines);
            }
            printed
        }
        Tree::Mapping(entries) => {
            let mut printed = Vec::new();
            for (key, value) in entries {
                let (same_line, indentation) = match value {
                    Tree::Scalar(text) => (text.as_str(), None),
                    Tree::Literal(_) => ("|", Some(2)),
                    Tree::Mapping(_) => ("", Some(2)),
                    Tree::List(_) => ("", Some(list)),
                };
                printed.push(format!("{blanks}{key}: {same_line}"));
                printed.extend(indentation.iter().flat_map(|more| print(value, column + more, list)));
            }
            printed
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_translation_means_what_the_parser_reads(
        tree in tree(),
        list in select(&[0, 1, 2][..]),
        shifted in prop::option::weighted(0.2, (any::<prop::sample::Index>(), 0..4_usize)),
        added in prop::option::weighted(0.2, (any::<prop::sample::Index>(), select(&["", "  ", "# c", "   # c", "- x", "z: y"][..]))),
    ) {
        let mut lines = print(&tree, 0, list);
        let lines_count = lines.len();
        if let Some((at, column)) = shifted {
            let line = &mut lines[at.index(lines_count)];
            *line = format!("{}{}", " ".repeat(column), line.trim_start());
        }
        if let Some((at, line)) = added {
            lines.insert(at.index(lines.len()), line.to_owned());
        }
        let text = lines.join("\n") + "\n";
        if let Some(json) = to_json(&text) {
            let translated: Value = serde_json::from_str(&json)
                .map_err(|error| TestCaseError::fail(format!("{error}: {json}")))?;
            prop_assert_eq!(Ok(translated), parsed(&text), "{}", text);
        }
    }
}
