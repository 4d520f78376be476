//! `draw`: every notation, from manifests.

use std::{fmt::Write as _, fs, path::Path, process::Output};

use portolan_integration::binary;

const NODE: [&str; 4] = ["--node", "node-a", "--cluster-cidr", "10.128.0.0/16"];

fn draw(arguments: &[&str]) -> Output {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
    let mut command = std::process::Command::new(binary().unwrap());
    command.current_dir(examples).arg("draw").args(arguments).args(NODE).output().unwrap()
}

#[track_caller]
fn stdout(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn every_notation_shows_the_service_its_nodes_and_pods() {
    for (notation, start) in [
        ("text", "Service default/service-python"),
        ("svg", "<?xml"),
        ("html", "<!DOCTYPE html>"),
        ("mermaid", "flowchart LR"),
        ("dot", "digraph portolan {"),
    ] {
        let arguments = ["service-python", "-f", "4-load-balancer.yaml", "-o", notation];
        let drawn = stdout(&draw(&arguments), 0);
        assert!(drawn.starts_with(start), "{notation}: {drawn}");
        for part in ["198.51.100.80:3000", "10.96.0.10:3000", ":30080", "node-b", "10.128.2.6:443", "33.3 %"]
        {
            assert!(drawn.contains(part), "{notation} has no {part}: {drawn}");
        }
        for part in ["<script", "http-equiv", "href=", "url(", "@import"] {
            assert!(!drawn.contains(part), "{notation} has {part}: {drawn}");
        }
        assert_eq!(drawn, stdout(&draw(&arguments), 0), "{notation}: the same input gives the same bytes");
    }
}

#[test]
fn what_is_not_used_is_drawn_with_its_reason() {
    let local = stdout(&draw(&["service-python", "-f", "5-local.yaml"]), 0);
    assert!(local.contains("─ dropped ─✗") && local.contains("Cluster 33.3 %"), "{local}");
    let pending =
        stdout(&draw(&["-n", "default", "service-python", "-f", "5-not-ready.yaml", "-o", "svg"]), 0);
    for part in ["✗ refused", "not used: not ready: ContainersNotReady: python", "class=\"pod unused\""] {
        assert!(pending.contains(part), "{part}: {pending}");
    }
}

/// Another node's addresses for node ports are chosen from those in its Node object.
#[test]
fn node_ports_of_another_node_are_at_the_addresses_of_its_object() {
    let arguments = ["-f", "4-load-balancer.yaml", "--nodeport-addresses"];
    let outside = stdout(&draw(&[&arguments[..], &["192.0.2.0/24"]].concat()), 0);
    assert!(outside.contains("NodePort :30080 of every node"), "{outside}");
    let nowhere = stdout(&draw(&[&arguments[..], &["198.18.0.0/15"]].concat()), 0);
    assert!(nowhere.contains("NodePort :30080, at no address of this node"), "{nowhere}");
}

#[test]
fn names_are_looked_up_and_a_missing_one_is_one_line() {
    let unknown = draw(&["service-pyhton", "-f", "4-load-balancer.yaml"]);
    assert_eq!(stdout(&unknown, 1), "");
    let line = "portolan: there is no Service default/service-pyhton in the input; did you mean default/service-python?\n";
    assert_eq!(String::from_utf8_lossy(&unknown.stderr), line);
    assert_eq!(stdout(&draw(&["x", "-f", "missing.yaml"]), 2), "");
    let none = stdout(&draw(&["-n", "other", "-f", "4-load-balancer.yaml"]), 0);
    assert!(none.starts_with("There are no Services to draw."), "{none}");
}

#[test]
fn many_services_are_an_overview() {
    let mut manifests = String::new();
    for n in 0..300 {
        write!(
            manifests,
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s-{n}}}\nspec: {{clusterIP: 10.97.{}.{}, ports: [{{port: 80}}]}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s-{n}-1, labels: {{kubernetes.io/service-name: s-{n}}}}}\naddressType: IPv4\n\
             ports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.128.{}.{}], conditions: {{ready: {}}}}}]\n---\n",
            n / 200,
            n % 200 + 1,
            n / 200,
            n % 200 + 1,
            n != 150
        )
        .unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many.yaml");
    fs::write(&path, manifests).unwrap();
    let drawn = stdout(&draw(&["-f", path.to_str().unwrap()]), 0);
    assert!(drawn.starts_with("300 Services, 300 endpoints, 299 of them used\n"), "{drawn}");
    assert!(drawn.contains("and 60 more Services"), "{drawn}");
    // Services that do not answer come first.
    assert!(drawn.lines().nth(3).unwrap().starts_with("default/s-150 "), "{drawn}");
}
