//! Reading manifests once: formats, lists, bad input, precedence.

use std::{fmt::Write as _, fs, path::PathBuf};

use portolan::source::manifest::{Objects, Source};
use tempfile::TempDir;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, creationTimestamp: null}
spec:
  clusterIP: 10.96.0.1
  ports: [{port: 80, targetPort: http}]
";

/// Writes files into a new directory and reads it.
fn read(files: &[(&str, &str)]) -> (TempDir, Objects) {
    let directory = TempDir::new().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    let objects = load(&[directory.path().to_path_buf()]);
    (directory, objects)
}

fn load(paths: &[PathBuf]) -> Objects {
    Source::new(paths.iter().cloned(), "node-1").load()
}

fn read_text(text: &str) -> Objects {
    Source::new(["-".into()], "node-1").with_stdin(std::io::Cursor::new(text.to_owned())).load()
}

fn services(objects: &Objects) -> Vec<String> {
    objects.services.keys().map(ToString::to_string).collect()
}

/// Returns problems as text, with paths relative to the directory.
fn lines<T: ToString>(problems: &[T], directory: &TempDir) -> Vec<String> {
    let prefix = format!("{}/", directory.path().display());
    problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

fn service_named(name: &str, ip: &str) -> String {
    SERVICE.replace("name: web", &format!("name: {name}")).replace("10.96.0.1", ip)
}

#[test]
fn documents_of_a_file_are_separate() {
    let text = format!(
        "# a comment\n---\n{}---\n\n--- # nothing\n...\n---\n{}\n---\nkind: Deployment\napiVersion: apps/v1\n",
        service_named("a", "10.96.0.1"),
        service_named("b", "10.96.0.2"),
    );
    let objects = read_text(&text);
    assert_eq!(objects.errors, []);
    assert_eq!(services(&objects), ["default/a", "default/b"]);
    assert_eq!(objects.ignored, [("Deployment".to_owned(), 1)].into());
}

#[test]
fn directives_and_byte_order_marks_are_accepted() {
    let objects = read_text(&format!("\u{feff}%YAML 1.2\n---\n{SERVICE}"));
    assert_eq!(objects.errors, []);
    assert_eq!(services(&objects), ["default/web"]);
}

#[test]
fn json_objects_may_follow_each_other() {
    let json = |name: &str| {
        format!(
            r#"{{"apiVersion": "v1", "kind": "Service", "metadata": {{"name": "{name}"}},
                "spec": {{"clusterIP": "10.96.0.1", "ports": [{{"port": 80}}]}}}}"#
        )
    };
    for text in [
        format!("{}{}", json("a"), json("b")),
        format!("{}\n\n  {}\n", json("a"), json("b")),
        format!("{}\n---\n{}", json("a"), json("b")),
    ] {
        let objects = read_text(&text);
        assert_eq!(objects.errors, [], "{text}");
        assert_eq!(services(&objects), ["default/a", "default/b"], "{text}");
    }
}

#[test]
fn lists_hold_objects_of_any_kind_or_of_one() {
    let service = |name: &str| {
        format!("{{metadata: {{name: {name}}}, spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}}}")
    };
    let typed = |name: &str| service(name).replacen('{', "{apiVersion: v1, kind: Service, ", 1);
    for (text, expected) in [
        (
            format!("{{apiVersion: v1, kind: List, items: [{}, {}]}}", typed("a"), typed("b")),
            vec!["default/a", "default/b"],
        ),
        (format!("{{apiVersion: v1, items: [{}], kind: List}}", typed("a")), vec!["default/a"]),
        (
            format!("{{apiVersion: v1, kind: ServiceList, items: [{}, {}]}}", service("a"), service("b")),
            vec!["default/a", "default/b"],
        ),
        (
            format!("{{items: [{}, {}], apiVersion: v1, kind: ServiceList}}", service("a"), service("b")),
            vec!["default/a", "default/b"],
        ),
        (
            format!(
                "{{apiVersion: v1, kind: List, items: [{}, {{apiVersion: v1, kind: List, items: [{}]}}]}}",
                typed("a"),
                typed("b")
            ),
            vec!["default/a", "default/b"],
        ),
        (
            format!(
                "{{items: [{{items: [{}], apiVersion: v1, kind: ServiceList}}, {}], apiVersion: v1, kind: List}}",
                service("a"),
                typed("b")
            ),
            vec!["default/a", "default/b"],
        ),
    ] {
        let objects = read_text(&text);
        assert_eq!(objects.errors, [], "{text}");
        assert_eq!(services(&objects), expected, "{text}");
    }
}

#[test]
fn keys_may_come_in_any_order() {
    let text = "
status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
metadata: {name: web}
kind: Service
apiVersion: v1
---
ports: [{port: 8080}]
endpoints: [{addresses: [10.0.0.1]}]
addressType: IPv4
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
";
    let objects = read_text(text);
    assert_eq!(objects.errors, []);
    let service = objects.services.values().next().unwrap();
    assert_eq!(service.load_balancer_ips.len(), 1);
    assert_eq!(objects.slices.values().next().unwrap().endpoints.len(), 1);
}

#[test]
fn kinds_of_other_groups_are_ignored_and_counted() {
    let text = "
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: web}
spec: {template: {}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: x}, items: [1]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: y}}
---
{apiVersion: v1, items: [{apiVersion: apps/v1, kind: Deployment, spec: {selector: {matchLabels: {a: b}}}}], kind: List}
---
{apiVersion: v1, kind: Node, metadata: {name: other}}
";
    let objects = read_text(text);
    assert_eq!((objects.errors, objects.warnings), (vec![], vec![]));
    let ignored: Vec<_> = objects.ignored.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(ignored, [("ConfigMap", 2), ("Deployment", 1), ("Service", 1)]);
}

#[test]
fn one_bad_object_never_stops_the_others() {
    let (directory, objects) = read(&[
        (
            "a.yaml",
            &format!("{}---\n{}", service_named("good", "10.96.0.1"), service_named("bad", "10.96.0.300")),
        ),
        (
            "b.json",
            r#"{"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "port"},
                 "spec": {"clusterIP": "10.96.0.2", "ports": [{"port": "80"}]}},
                {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fine"},
                 "spec": {"clusterIP": "10.96.0.3", "ports": [{"port": 80}]}},
                {"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {}},
                {"apiVersion": "v1", "metadata": {"name": "x"}},
                "text", 7, null, []
            ]}"#,
        ),
        ("c.yaml", "kind: Service\nmetadata: {\n"),
        ("d.yaml", &service_named("last", "10.96.0.4")),
        ("e.json", "{\"kind\": \n\"Service\""),
        ("f.yaml", "a: b\nkind: Service\n"),
        ("g.yaml", "just text\n"),
        ("h.txt", "not read"),
        (".i.yaml", "not read"),
    ]);
    assert_eq!(services(&objects), ["default/fine", "default/good", "default/last"]);
    let errors = lines(&objects.errors, &directory);
    let expected = [
        "a.yaml: Service default/bad: spec.clusterIP: \"10.96.0.300\" is not an IP address",
        "b.json: Service default/port: spec.ports[0].port: expected a whole number, found the text \"80\"",
        "b.json: Service in document 1, items[2]: metadata.name: is missing",
        "b.json: document 1, items[4]: expected a Kubernetes object, found text",
        "b.json: document 1, items[5]: expected a Kubernetes object, found a number",
        "b.json: document 1, items[6]: expected a Kubernetes object, found nothing",
        "b.json: document 1, items[7]: expected a Kubernetes object, found a list",
        "b.json: document 1, items[3]: kind: is missing",
        "c.yaml:",
        "e.json:2: ends in the middle of a JSON object",
        "f.yaml: Service in document 1: apiVersion: is missing",
        "g.yaml: document 1: expected a Kubernetes object, found text",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}\nis not\n{expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn syntax_errors_name_the_line_in_the_file() {
    let (directory, objects) =
        read(&[("a.yaml", &format!("{SERVICE}---\nkind: Service\nspec:\n  a: b\n c: d\n"))]);
    // The readable documents are used.
    assert_eq!(services(&objects), ["default/web"]);
    let errors = lines(&objects.errors, &directory);
    assert_eq!(errors.len(), 1);
    let line = SERVICE.lines().count() + 5;
    assert!(errors[0].starts_with(&format!("a.yaml:{line}: ")), "{errors:?}");
}

#[test]
fn text_that_is_not_utf8_names_the_line() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("a.yaml"), b"kind: Service\n# \xff\n").unwrap();
    let objects = load(&[directory.path().to_path_buf()]);
    assert_eq!(lines(&objects.errors, &directory), ["a.yaml:2: is not UTF-8 text"]);
}

#[test]
fn problems_are_one_line_whatever_the_text() {
    let objects =
        read_text("apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {\"a\\nb\": 1}}\nspec: {}\n");
    let errors: Vec<String> = objects.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["-: Service default/web: metadata.labels[a\\nb]: expected text, found the number 1"]);
}

#[test]
fn aliases_are_expanded_but_not_without_limit() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: &name web}
spec:
  clusterIP: 10.96.0.1
  selector: {app: *name}
  ports: [{port: 80}]
";
    assert_eq!(services(&read_text(text)), ["default/web"]);

    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(bomb, "a{i}: &a{i} [{aliases}]").unwrap();
    }
    bomb.push_str("spec: *a11\n");
    let objects = read_text(&bomb);
    assert_eq!(objects.errors.len(), 1, "{:?}", objects.errors);
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for text in [
        format!("spec: {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{{\"spec\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        "[".repeat(1_000_000),
        "{\"items\": [".repeat(50_000),
        (0..2_000).flat_map(|depth| [" ".repeat(depth), "a:\n".to_owned()]).collect(),
        "- ".repeat(20_000),
    ] {
        let objects = read_text(&text);
        assert_eq!(objects.errors.len(), 1, "{:?}", objects.errors.first());
        assert!(objects.errors[0].to_string().len() < 500);
    }
}

#[test]
fn the_deepest_allowed_nesting_fits_a_small_stack() {
    let deep = |kind: &str| {
        let items = "{\"items\": [".repeat(50) + &"]}".repeat(50);
        format!(
            "{{\"apiVersion\": \"x/v1\", {kind} \"spec\": {}{}, \"items\": [{items}]}}",
            "[".repeat(120),
            "]".repeat(120)
        )
    };
    let texts = [deep(""), deep("\"kind\": \"Other\","), format!("# YAML\n{}", deep(""))];
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for text in texts {
            read_text(&text);
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn of_duplicates_the_last_counts() {
    let (directory, objects) = read(&[
        ("a.yaml", &service_named("web", "10.96.0.1")),
        (
            "b.yaml",
            &format!("{}---\n{}", service_named("web", "10.96.0.2"), service_named("web", "10.96.0.3")),
        ),
    ]);
    let service = objects.services.values().next().unwrap();
    assert_eq!(service.cluster_ips, ["10.96.0.3".parse::<std::net::IpAddr>().unwrap()]);
    let warnings = lines(&objects.warnings, &directory);
    assert_eq!(
        warnings,
        [
            "b.yaml: Service default/web: metadata.name: is in this file twice; the later one is used",
            "b.yaml: Service default/web: is used instead of the one in a.yaml",
        ]
    );

    // The order of the arguments takes precedence over the order of names.
    let [a, b] = ["a.yaml", "b.yaml"].map(|name| directory.path().join(name));
    let objects = load(&[b, a]);
    let service = objects.services.values().next().unwrap();
    assert_eq!(service.cluster_ips, ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn paths_are_files_of_any_name_and_directories_without_subdirectories() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("service"), SERVICE).unwrap();
    fs::create_dir(directory.path().join("sub.yaml")).unwrap();
    fs::write(directory.path().join("sub.yaml/a.yaml"), service_named("sub", "10.96.0.9")).unwrap();
    fs::write(directory.path().join("a.yml"), service_named("a", "10.96.0.8")).unwrap();
    let file = directory.path().join("service");
    assert_eq!(services(&load(&[file.clone(), file.clone()])), ["default/web"]);
    assert!(load(&[file.clone(), file]).warnings.is_empty());
    assert_eq!(services(&load(&[directory.path().to_path_buf()])), ["default/a"]);
}

#[test]
fn paths_that_cannot_be_read_are_errors() {
    let directory = TempDir::new().unwrap();
    let objects = load(&[directory.path().join("absent.yaml")]);
    assert_eq!(
        lines(&objects.errors, &directory),
        ["absent.yaml: cannot be read: No such file or directory (os error 2)"]
    );
}

#[test]
fn the_node_of_this_name_is_used() {
    let node = |name: &str, ip: &str| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: {name}}}, \
             status: {{addresses: [{{type: InternalIP, address: {ip}}}]}}}}\n"
        )
    };
    let objects = read_text(&format!("{}---\n{}", node("node-1", "192.0.2.1"), node("node-2", "192.0.2.2")));
    let found = objects.node.unwrap();
    assert_eq!((&*found.name, found.addresses.len()), ("node-1", 1));
    assert_eq!(read_text(&node("node-2", "192.0.2.2")).node, None);
}

#[test]
fn service_cidrs_are_collected() {
    let objects = read_text(
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, \
          spec: {cidrs: [10.96.0.1/16, fd00::/112]}}\n---\n\
         {apiVersion: networking.k8s.io/v1beta1, kind: ServiceCIDR, metadata: {name: more}, \
          spec: {cidrs: [10.96.0.0/16, 10.97.0.0/16]}}\n---\n\
         {apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: bad}, spec: {cidrs: [x]}}\n",
    );
    let ranges: Vec<String> = objects.service_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.96.0.0/16", "10.97.0.0/16", "fd00::/112"]);
    let errors: Vec<String> = objects.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["-: ServiceCIDR bad: spec.cidrs[0]: \"x\" is not a CIDR"]);
}

/// Returns a list as `kubectl get -o yaml` prints it, long enough that several threads read it in pieces.
fn long_list(item: impl Fn(usize) -> String) -> String {
    let items: String = (0..5_000).map(item).collect();
    format!("apiVersion: v1\nitems:\n{items}kind: List\nmetadata:\n  resourceVersion: \"\"\n")
}

fn item(i: usize, port: &str) -> String {
    let filler = "x".repeat(200);
    format!(
        "- apiVersion: v1\n  kind: Service\n  metadata:\n    name: service-{i:04}\n    annotations:\n      a: |\n        \
         - {filler}\n  spec:\n    clusterIP: 10.96.{}.{}\n    ports:\n    - port: {port}\n",
        i / 256,
        i % 256
    )
}

#[test]
fn long_lists_are_read_like_short_ones() {
    let objects = read_text(&long_list(|i| item(i, "80")));
    assert_eq!(objects.errors, []);
    assert_eq!(objects.services.len(), 5_000);
    assert_eq!(objects.services.values().next_back().unwrap().cluster_ips[0].to_string(), "10.96.19.135");

    let text = long_list(|i| item(i, if i == 4_321 { "0" } else { "80" }));
    let objects = read_text(&text);
    assert_eq!(objects.services.len(), 4_999);
    let errors: Vec<String> = objects.errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        ["-: Service default/service-4321: spec.ports[0].port: 0 is not a port number from 1 to 65535"]
    );

    let text = long_list(|i| item(i, "80").replace(": service-4321", ": ''"));
    let errors: Vec<String> = read_text(&text).errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["-: Service in document 1, items[4321]: metadata.name: must not be empty"]);

    let broken = long_list(|i| item(i, if i == 4_321 { "[" } else { "80" }));
    let line = 2 + 4_321 * 11 + 11;
    let objects = read_text(&broken);
    assert_eq!(objects.services.len(), 0);
    let error = objects.errors[0].to_string();
    let found: usize = error.split(':').nth(1).unwrap().parse().unwrap();
    assert!(found == line || found == line + 1, "line {line}: {error}");
}

#[test]
fn long_files_of_many_documents_keep_their_order() {
    let documents: Vec<String> = (0..5_000)
        .map(|i| service_named(&format!("service-{}", i % 2_500), &format!("10.96.{}.{}", i / 256, i % 256)))
        .collect();
    let text = documents.join(&format!("---\n# {}\n", "x".repeat(100)));
    let objects = read_text(&text);
    assert_eq!((objects.errors.len(), objects.services.len(), objects.warnings.len()), (0, 2_500, 2_500));
    // The later of two objects takes effect.
    let service = objects.services.values().find(|service| &*service.name.name == "service-0").unwrap();
    assert_eq!(service.cluster_ips[0].to_string(), format!("10.96.{}.{}", 2_500 / 256, 2_500 % 256));
}
