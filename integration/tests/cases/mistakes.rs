//! Input that is not a manifest: one line says what it is, and what to do.

use super::{Answer, case, command, on, on_input};

/// Words of the parsers, which users do not understand.
const PARSER_WORDS: [&str; 12] = [
    "budget",
    "DuplicateKeyPolicy",
    "valid inside a block",
    "mapping values",
    "simple key",
    "block mapping",
    "block end",
    "flow",
    "scan",
    "illegal placement",
    "anchor_events",
    "expected <",
];

fn assert_one_sentence(answer: &Answer, expected: &str) {
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert_eq!(answer.stdout, "");
    let lines: Vec<&str> = answer.stderr.lines().collect();
    assert!(lines.iter().any(|line| line.contains(expected)), "{expected}: {lines:?}");
    for line in lines {
        let words = PARSER_WORDS.iter().find(|words| line.contains(*words));
        assert_eq!(words, None, "{line}");
    }
}

#[test]
fn what_looks_like_a_manifest_is_recognised() {
    for (name, expected) in [
        ("helm-template.yaml", "helm-template.yaml:4: is a template, not a manifest; render it first"),
        (
            "kubectl-table.txt",
            "kubectl-table.txt: is a table as kubectl get prints it; use kubectl get -o yaml",
        ),
        (
            "watch-event.json",
            "watch-event.json: is an event of a watch; the object is under its key `object`",
        ),
        ("alias-bomb.yaml", "has aliases (*name) that expand to more than a manifest can hold"),
        ("duplicate-key.yaml", "duplicate-key.yaml:6: has the key spec twice in one mapping"),
        ("status.json", "is a Status, which the API server sends in place of objects: services is forbidden"),
        ("comment-only.yaml", "holds no object; if that is intended, use --allow-empty"),
        ("list-empty.yaml", "holds no object; if that is intended, use --allow-empty"),
    ] {
        assert_one_sentence(&on(name, &["render"]), expected);
    }
}

#[test]
fn other_texts_are_recognised_by_their_keys() {
    for (text, expected) in [
        ("resources: [web.yaml]\n", "is a kustomization, not a manifest"),
        (
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [web.yaml]\n",
            "is a kustomization, not a manifest; render it first",
        ),
        ("apiVersion: v2\nname: web\nversion: 1.0.0\n", "is the Chart.yaml of a Helm chart"),
        (
            "replicaCount: 1\nservice: {port: 80}\n",
            "if these are values of a Helm chart, render the chart first",
        ),
        ("Name:       web\nNamespace:  shop\n", "is text as kubectl describe prints it"),
        ("NAMESPACE   NAME   TYPE\nshop        web    ClusterIP\n", "is a table as kubectl get prints it"),
    ] {
        assert_one_sentence(&on_input(text.as_bytes(), &["render"]), expected);
    }
}

#[test]
fn text_that_is_no_yaml_is_explained_with_its_line() {
    for (text, expected) in [
        ("kind: Service\n\tname: x\n", "-:2: is not valid YAML at `name: x`; the line begins with a tab"),
        (
            "kind: Service: x\n",
            "-:1: is not valid YAML at `kind: Service: x`; a value with a colon needs quotes",
        ),
        ("kind: @x\n", "is not valid YAML at `kind: @x`"),
        ("kind: [a\nb: }\n", "is not valid YAML"),
        ("kind: \"a\n", "is not valid YAML"),
        ("kind: *x\n", "has an alias (*name) of an anchor that does not exist"),
        ("{\"kind\": \"Service\",\n", "ends in the middle of a JSON object"),
    ] {
        assert_one_sentence(&on_input(text.as_bytes(), &["render"]), expected);
    }
}

#[test]
fn other_encodings_and_binaries_are_named() {
    let utf16: Vec<u8> = "\u{feff}kind: Service\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_one_sentence(&on_input(&utf16, &["render"]), "it is UTF-16 text; save it as UTF-8");
    assert_one_sentence(
        &on_input(b"\x7fELF\x02\x01\x01\0\0", &["render"]),
        "it is not text, but has NUL bytes",
    );
    assert_one_sentence(&on_input(b"\x1f\x8b\x08\xff\xfe", &["render"]), "is not UTF-8 text");
}

#[test]
fn windows_line_ends_work() {
    let text = std::fs::read_to_string(case("port-name-differs.yaml")).unwrap().replace('\n', "\r\n");
    let answer = on_input(text.as_bytes(), &["render"]);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), ""));
    assert_eq!(answer.stdout, on("port-name-differs.yaml", &["render"]).stdout);
}

#[test]
fn parts_of_charts_and_kustomizations_in_a_directory_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(case("port-name-differs.yaml"), directory.path().join("web.yaml")).unwrap();
    for name in ["kustomization.yaml", "Chart.yaml", "values.yaml"] {
        std::fs::write(directory.path().join(name), "replicaCount: 1\n").unwrap();
    }
    let answer = Answer::from(command(&["render", "-f"]).arg(directory.path()).output().unwrap());
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    for (name, what) in [
        ("kustomization.yaml", "is a kustomization (kubectl kustomize renders it), and left out"),
        ("Chart.yaml", "is a part of a Helm chart (helm template renders it), and left out"),
        ("values.yaml", "is a part of a Helm chart (helm template renders it), and left out"),
    ] {
        let expected = format!("{name}: {what}");
        assert!(answer.stderr.contains(&expected), "{expected}: {}", answer.stderr);
    }
    std::fs::remove_file(directory.path().join("web.yaml")).unwrap();
    let answer = Answer::from(command(&["render", "-f"]).arg(directory.path()).output().unwrap());
    assert_one_sentence(
        &answer,
        "with manifests; Chart.yaml is a part of a Helm chart (helm template renders it)",
    );
}
