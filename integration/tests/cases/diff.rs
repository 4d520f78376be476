//! `diff --from`: compares two states of files, Service by Service.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Answer, command};

/// Returns a Service with these fields in its `spec` and these endpoints.
fn manifest(name: &str, spec: &str, endpoints: &[&str]) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|address| format!("{{addresses: [{address}], nodeName: node-1}}")).collect();
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec}}}}}\n---\n\
         {{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{{name: a, port: 8080}}, {{name: b, port: 8081}}], \
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}, endpoints: [{}]}}\n---\n",
        endpoints.join(", ")
    )
}

fn diff(old: &Path, new: &Path, arguments: &[&str]) -> Answer {
    let mut command = command(&["diff", "--hostname-override", "node-1"]);
    command.arg("--from").arg(old).arg("-f").arg(new).args(arguments).output().unwrap().into()
}

/// The two states: a changed Service, a removed one, an added one, and an unchanged one.
fn states() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let both =
        "clusterIP: 10.96.0.5, externalIPs: [203.0.113.5], ports: [{name: a, port: 80}, {name: b, port: 81}]";
    let one = "clusterIP: 10.96.0.5, externalIPs: [203.0.113.5], externalTrafficPolicy: Local, ports: [{name: a, port: 80}]";
    let port = |ip: &str| format!("clusterIP: {ip}, ports: [{{name: a, port: 80}}]");
    let old = manifest("web", both, &["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        + &manifest("old", &port("10.96.0.6"), &["10.0.0.4"])
        + &manifest("same", &port("10.96.0.7"), &["10.0.0.5"]);
    let new = manifest("web", one, &["10.0.0.1", "10.0.0.2"])
        + &manifest("new", &port("10.96.0.8"), &["10.0.0.4"])
        + &manifest("same", &port("10.96.0.7"), &["10.0.0.5"]);
    fs::write(directory.path().join("old.yaml"), old).unwrap();
    fs::write(directory.path().join("new.yaml"), new).unwrap();
    directory
}

#[test]
fn each_service_that_differs_has_a_line() {
    let states = states();
    let (old, new) = (states.path().join("old.yaml"), states.path().join("new.yaml"));
    let answer = diff(&old, &new, &[]);
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "default/new: new: 1 frontend, 1 endpoint",
            "default/old: gone: had 1 frontend, 1 endpoint",
            "default/web: 3 → 2 endpoints (-10.0.0.3:8080); port 81/tcp gone; externalTrafficPolicy now Local",
        ]
    );
    assert!(lines[3].starts_with("3 of 4 Services differ: 1 new, 1 gone, 1 changed; "), "{}", lines[3]);
    assert_eq!(lines.len(), 4);

    let same = diff(&old, &old, &[]);
    assert_eq!((same.code, &*same.stdout), (Some(0), "No difference from the earlier files: 3 Services\n"));
    assert_eq!(diff(&old, &states.path().join("missing.yaml"), &[]).code, Some(2));
}

#[test]
fn what_differs_is_drawn_before_and_after_in_one_picture() {
    let states = states();
    let (old, new) = (states.path().join("old.yaml"), states.path().join("new.yaml"));
    let text = diff(&old, &new, &["--draw"]);
    assert_eq!(text.code, Some(1), "{}", text.stderr);
    for part in [
        "+ Service default/new",
        "- Service default/old",
        "~ Service default/web",
        "─ Cluster 33.3 % → 50.0 % ─▶ 10.0.0.1:8080",
        "╌ Cluster 33.3 % ╌✗ - 10.0.0.3:8080",
        "was policy Cluster: masqueraded",
        "before: from ",
        "after: from ",
    ] {
        assert!(text.stdout.contains(part), "{part}:\n{}", text.stdout);
    }
    assert!(!text.stdout.contains("default/same"), "{}", text.stdout);
    for (notation, start) in [
        ("svg", "<?xml"),
        ("html", "<!DOCTYPE html>"),
        ("mermaid", "flowchart LR"),
        ("dot", "digraph portolan {"),
    ] {
        // Only pictures have these formats.
        let drawn = diff(&old, &new, &["-o", notation]);
        assert!(drawn.stdout.starts_with(start), "{notation}: {}", drawn.stdout);
        assert_eq!(drawn.stdout, diff(&old, &new, &["--draw", "-o", notation]).stdout);
        assert!(drawn.stdout.contains("- 10.0.0.3:8080") || drawn.stdout.contains("- <code>10.0.0.3:8080"));
    }
    let wrong = diff(&old, &new, &["--draw", "-o", "json"]);
    assert_eq!((wrong.code, &*wrong.stdout), (Some(2), ""));
    assert_eq!(wrong.stderr, "portolan: --draw: a picture is text, svg, html, mermaid or dot (-o)\n");
    let same = diff(&old, &old, &["--draw"]);
    assert_eq!((same.code, same.stdout.lines().next()), (Some(0), Some("No Service differs.")));
}

#[test]
fn one_namespace_is_compared_alone() {
    let states = states();
    let (old, new) = (states.path().join("old.yaml"), states.path().join("new.yaml"));
    let shop = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}}\n";
    let text = fs::read_to_string(&new).unwrap();
    fs::write(&new, text + shop).unwrap();
    let answer = diff(&old, &new, &["-n", "default"]);
    assert!(answer.stdout.contains("3 of 4 Services differ"), "{}", answer.stdout);
    let shop = diff(&new, &new, &["-n", "shop"]);
    assert_eq!((shop.code, &*shop.stdout), (Some(0), "No difference from the earlier files: 1 Service\n"));
    // Otherwise a misspelt namespace would look as if every Service were gone.
    let missing = diff(&old, &new, &["-n", "shpo"]);
    assert_eq!((missing.code, &*missing.stdout), (Some(2), ""));
    assert!(missing.stderr.contains("no Service of namespace shpo"), "{}", missing.stderr);
    let mut render = command(&["render", "--hostname-override", "node-1", "-n", "shop"]);
    let render = Answer::from(render.arg(&new).output().unwrap());
    assert_eq!(render.code, Some(0), "{}", render.stderr);
    assert!(render.stdout.contains("shop/web") && !render.stdout.contains("default/"), "{}", render.stdout);
}

#[test]
fn a_pull_request_gets_a_table_and_a_program_all_changes() {
    let states = states();
    let (old, new) = (states.path().join("old.yaml"), states.path().join("new.yaml"));
    let markdown = diff(&old, &new, &["-o", "markdown"]).stdout;
    assert!(markdown.starts_with("| Service | Change |\n|---|---|\n| `default/new` | new: "), "{markdown}");
    assert!(markdown.contains("<br>port 81/tcp gone<br>"), "{markdown}");
    let json: Value = serde_json::from_str(&diff(&old, &new, &["-o", "json"]).stdout).unwrap();
    assert_eq!((&json["new"], &json["gone"], &json["changed"]), (&1.into(), &1.into(), &1.into()));
    let web = &json["services"][2];
    assert_eq!((&web["service"], &web["change"]), (&"default/web".into(), &"changed".into()));
    let endpoint =
        |change: &&Value| change["what"].as_str().unwrap().starts_with("endpoint 10.0.0.3:8080 of port 80");
    let endpoint = web["changes"].as_array().unwrap().iter().find(endpoint).unwrap();
    assert_eq!((&endpoint["before"]["used"], &endpoint["after"]), (&true.into(), &Value::Null));
    let nft = diff(&old, &new, &["-o", "nft"]).stdout;
    assert!(nft.lines().all(|line| line.starts_with(['+', '-'])), "{nft}");
}
