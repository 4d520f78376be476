//! The other commands: `cleanup`, `diff`, `render`, `run --once`.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};
use portolan_integration::{Agent, CLUSTER_CIDR, Family, Namespace, eventually, nft};
use serde_json::Value;

use crate::scene::{Scene, assert_served, every_protocol, service, slices};

/// Runs a command of the binary on node-a; adds `-f` and the node's facts if the command takes them.
fn portolan(scene: &Scene, arguments: &[&str]) -> Output {
    let facts = ["-f", scene.manifests.path().to_str().unwrap(), "--hostname-override", "node-a"];
    let cidr = ["--cluster-cidr", CLUSTER_CIDR];
    let rest = if arguments == ["cleanup"] { vec![] } else { [facts.as_slice(), &cidr].concat() };
    Agent::command(&scene.lab.node_a, &[arguments, &rest].concat()).unwrap_or_else(|error| panic!("{error}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stdout:\n{}\nstderr:\n{stderr}", stdout(output));
}

/// Returns nft's listing of our two tables, sorted: nft lists sets and chains in the order of their creation, and the
/// elements of a set in the order of their hashes.
fn list(namespace: &Namespace) -> Vec<String> {
    let mut objects = Vec::new();
    for family in ["ip", "ip6"] {
        let listing = nft(namespace, &["list", "table", family, "portolan"], "").unwrap();
        let (header, rest) = listing.split_once('\n').unwrap();
        let rest = rest.trim_end().strip_suffix('}').unwrap();
        let mut of_family: Vec<_> = rest.trim_end().split("\n\n").map(sorted_elements).collect();
        of_family.sort();
        objects.push(header.to_owned());
        objects.extend(of_family);
    }
    objects
}

/// Returns a set or chain with its elements in alphabetical order.
fn sorted_elements(object: &str) -> String {
    let Some((before, after)) = object.split_once("elements = {") else { return object.to_owned() };
    let (elements, after) = after.split_once('}').unwrap();
    let mut elements: Vec<_> = elements
        .split([',', '\n'])
        .map(|element| element.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|element| !element.is_empty())
        .collect();
    elements.sort();
    [before, &elements.join("\n"), after].concat()
}

/// Returns nft's JSON listing of one table, sorted and without handles.
fn list_json(namespace: &Namespace, family: &str) -> Value {
    let text = nft(namespace, &["-j", "list", "table", family, "portolan"], "").unwrap();
    let mut json: Value = serde_json::from_str(&text).unwrap();
    let objects = json["nftables"].as_array_mut().unwrap();
    for object in &mut *objects {
        for part in object.as_object_mut().unwrap().values_mut() {
            part.as_object_mut().unwrap().remove("handle");
            if let Some(elements) = part.get_mut("elem").and_then(Value::as_array_mut) {
                elements.sort_by_key(Value::to_string);
            }
        }
    }
    // Rules stay in the order of their chain.
    objects.sort_by_key(|object| {
        let (kind, part) = object.as_object().unwrap().iter().next().unwrap();
        let name = if kind == "rule" { &part["chain"] } else { &part["name"] };
        (kind.clone(), name.to_string())
    });
    json
}

#[test]
fn diff_says_what_would_change_and_its_exit_code_whether() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one]);
    let before = portolan(&scene, &["diff"]);
    assert_code(&before, 1);
    assert!(stdout(&before).contains("default/web"), "{}", stdout(&before));
    let listed = nft(scene.lab.node_a.namespace(), &["list", "ruleset"], "").unwrap();
    assert_eq!(listed, "", "diff changes nothing");

    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    let same = portolan(&scene, &["diff"]);
    assert_code(&same, 0);
    assert!(stdout(&same).starts_with("No difference from the kernel: "), "{}", stdout(&same));
    assert_eq!(stdout(&portolan(&scene, &["diff", "-o", "nft"])), "", "no operation");

    scene.put_services(&[&two]);
    let swapped = portolan(&scene, &["diff"]);
    assert_code(&swapped, 1);
    let drawn = stdout(&portolan(&scene, &["diff", "--draw"]));
    for part in ["~ Service default/web", "+ ", "- ", "before: the kernel's tables"] {
        assert!(drawn.contains(part), "{part}:\n{drawn}");
    }
    assert!(drawn.contains(&format!("+ {}", two.address().v4)), "{drawn}");
    assert!(drawn.contains(&format!("- {}", one.address().v4)), "{drawn}");
    let lines = stdout(&swapped);
    assert!(lines.contains(&two.address().v4.to_string()), "it names the new endpoint:\n{lines}");
    assert!(lines.contains(&two.address().v6.to_string()), "in both families:\n{lines}");
    assert!(!lines.contains("chain") && !lines.contains("rule"), "rules are constant:\n{lines}");
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    assert_code(&portolan(&scene, &["diff"]), 0);
}

/// A Service without the values that a cluster would assign.
const PLAIN: &str = "
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: shop}
spec: {selector: {app: plain}, ports: [{port: 80}]}
";

#[test]
fn diff_shows_what_run_would_do_with_the_same_flags() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    scene.manifests.put_text("plain.yaml", PLAIN).unwrap();
    let mut before: Option<&str> = None;
    for (flags, is_served) in [(&[][..], false), (&["--stand-ins"], true)] {
        let run = [&["run", "--once"], flags].concat();
        let diff = [&["diff"], flags].concat();
        let planned = portolan(&scene, &diff);
        assert_code(&planned, 1);
        assert_eq!(stdout(&planned).contains("shop/plain"), is_served, "{}", stdout(&planned));
        assert_eq!(stdout(&planned).contains("default/web"), before.is_none(), "{}", stdout(&planned));
        assert_code(&portolan(&scene, &run), 0);
        let same = portolan(&scene, &diff);
        assert_code(&same, 0);
        before = Some("programmed");
    }
    assert_code(&portolan(&scene, &["diff"]), 1);
    let both = portolan(&scene, &["diff", "--stand-ins", "--no-stand-ins"]);
    assert_code(&both, 2);
}

#[test]
fn diff_of_a_namespace_leaves_the_others_alone() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one]);
    scene
        .manifests
        .put_text("plain.yaml", &PLAIN.replace("spec: {", "spec: {clusterIP: 10.96.200.1, "))
        .unwrap();
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    // One Service of each namespace changes.
    scene.put_services(&[&two]);
    scene
        .manifests
        .put_text("plain.yaml", &PLAIN.replace("spec: {", "spec: {clusterIP: 10.96.200.2, "))
        .unwrap();
    let shop = portolan(&scene, &["diff", "-n", "shop", "-o", "nft"]);
    assert_code(&shop, 1);
    let lines = stdout(&shop);
    assert!(lines.contains("+ element") && lines.contains("10.96.200.2"), "{lines}");
    assert!(lines.contains("- element") && lines.contains("10.96.200.1"), "{lines}");
    assert!(!lines.contains("default/web") && !lines.contains(&two.address().v4.to_string()), "{lines}");
    let text = stdout(&portolan(&scene, &["diff", "-n", "shop"]));
    assert!(text.starts_with("shop/plain: ") && text.lines().count() == 2, "{text}");
    // Only the Service that is gone from the namespace is removed.
    scene
        .manifests
        .put_text(
            "plain.yaml",
            &PLAIN.replace("plain", "other").replace("spec: {", "spec: {clusterIP: 10.96.200.3, "),
        )
        .unwrap();
    let text = stdout(&portolan(&scene, &["diff", "-n", "shop"]));
    assert!(text.contains("shop/plain: gone") && text.contains("shop/other: new"), "{text}");
    assert!(!text.contains("default/"), "{text}");
}

#[test]
fn diff_sees_what_another_process_changed() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    let namespace = scene.lab.node_a.namespace();
    nft(namespace, &["flush", "map", "ip", "portolan", "frontends"], "").unwrap();
    assert_code(&portolan(&scene, &["diff"]), 1);
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    assert_code(&portolan(&scene, &["diff"]), 0);
    nft(namespace, &["delete", "table", "ip6", "portolan"], "").unwrap();
    assert_code(&portolan(&scene, &["diff"]), 1);
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    for family in Family::BOTH {
        let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(family, 80));
        assert_served(&answer, &["web-1"], "repaired");
    }
}

#[test]
fn errors_have_their_own_exit_codes() {
    let scene = Scene::new();
    let node = &scene.lab.node_a;
    for (command, code) in [("diff", 2), ("render", 1), ("run", 1)] {
        let once = if command == "run" { vec!["--once"] } else { vec![] };
        let arguments = [&[command, "-f", "/nowhere/at/all.yaml"][..], &once].concat();
        let output = Agent::command(node, &arguments).unwrap();
        assert_code(&output, code);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("/nowhere/at/all.yaml"), "{command} names the file: {stderr}");
    }
}

#[test]
fn cleanup_removes_our_tables_and_no_others() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    let namespace = scene.lab.node_a.namespace();
    let foreign = "table ip portolan-of-another {\n\tmap frontends {\n\t\ttype ipv4_addr : verdict\n\t}\n}\n\
                   table inet portolan {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n}\n\
                   table ip6 filter {\n\tset cluster-ips {\n\t\ttype ipv6_addr\n\t\telements = { 2001:db8::1 }\n\t}\n}\n";
    nft(namespace, &["-f", "-"], foreign).unwrap();
    let before = nft(namespace, &["list", "ruleset"], "").unwrap();
    assert_code(&portolan(&scene, &["cleanup"]), 0);
    assert_eq!(nft(namespace, &["list", "ruleset"], "").unwrap(), before, "nothing there to clean up");
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    assert!(nft(namespace, &["list", "tables"], "").unwrap().contains("table ip6 portolan"));
    for _ in 0..2 {
        assert_code(&portolan(&scene, &["cleanup"]), 0);
        assert_eq!(nft(namespace, &["list", "ruleset"], "").unwrap(), before);
    }
}

/// kube-proxy's leftovers can be removed while Portolan serves the node.
#[test]
fn cleanup_after_kube_proxy_leaves_everything_else() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    let namespace = scene.lab.node_a.namespace();
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    let before = nft(namespace, &["list", "ruleset"], "").unwrap();
    let leftovers = "table ip kube-proxy {\n\tmap service-ips {\n\t\ttype ipv4_addr : verdict\n\t}\n}\n\
                     table ip6 kube-proxy {\n\tchain nat-prerouting {\n\t\ttype nat hook prerouting priority dstnat;\n\t}\n}\n";
    nft(namespace, &["-f", "-"], leftovers).unwrap();
    assert_ne!(nft(namespace, &["list", "ruleset"], "").unwrap(), before);
    for _ in 0..2 {
        let output = Agent::command(&scene.lab.node_a, &["cleanup", "--kube-proxy"]).unwrap();
        assert_code(&output, 0);
        assert_eq!(nft(namespace, &["list", "ruleset"], "").unwrap(), before);
    }
}

#[test]
fn rendered_text_loads_and_lists_as_what_was_applied() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    let rendered = portolan(&scene, &["render"]);
    assert_code(&rendered, 0);
    assert_eq!(stdout(&rendered), stdout(&portolan(&scene, &["render"])), "same input, same bytes");
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    let applied = scene.lab.node_a.namespace();

    let loaded = Namespace::new("loaded").unwrap();
    nft(&loaded, &["-c", "-f", "-"], &stdout(&rendered)).unwrap();
    nft(&loaded, &["-f", "-"], &stdout(&rendered)).unwrap();
    assert_eq!(list(applied), list(&loaded));
    for family in ["ip", "ip6"] {
        assert_eq!(list_json(applied, family), list_json(&loaded, family), "as JSON");
    }

    // The text can be loaded again, as after an edit.
    nft(&loaded, &["-f", "-"], &stdout(&rendered)).unwrap();
    assert_eq!(list(applied), list(&loaded), "loading the text twice");

    // nft can load its own listing.
    let listed = nft(applied, &["list", "ruleset"], "").unwrap();
    let reloaded = Namespace::new("reloaded").unwrap();
    nft(&reloaded, &["-f", "-"], &listed).unwrap();
    assert_eq!(list(applied), list(&reloaded), "nft's own listing reloaded");
}

#[test]
fn rendered_text_loaded_by_nft_is_what_run_would_write() {
    let mut scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    let rendered = portolan(&scene, &["render"]);
    nft(scene.lab.node_a.namespace(), &["-f", "-"], &stdout(&rendered)).unwrap();
    let diff = portolan(&scene, &["diff"]);
    assert_code(&diff, 0);
    for family in Family::BOTH {
        let answer = scene.shell.client().tcp(scene.lab.cluster_ip(1).port(family, 80));
        assert_served(&answer, &["web-1"], "through rules that nft loaded");
    }
    scene.run();
    assert_code(&portolan(&scene, &["diff"]), 0);
}

#[test]
fn rendered_json_has_the_objects_that_nft_lists() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    let output = portolan(&scene, &["render", "-o", "json"]);
    assert_code(&output, 0);
    assert_code(&portolan(&scene, &["run", "--once"]), 0);
    let rendered: Value = serde_json::from_str(&stdout(&output)).unwrap();
    // Returns the names of the objects of a kind, with or without an enclosing `add`.
    let names = |json: &Value, kind: &str| {
        let objects = json["nftables"].as_array().unwrap();
        let objects = objects.iter().filter_map(|object| object.get("add").unwrap_or(object).get(kind));
        let mut names: Vec<_> =
            objects.map(|object| format!("{} {}", object["family"], object["name"])).collect();
        names.sort();
        names.dedup();
        names
    };
    let listed = nft(scene.lab.node_a.namespace(), &["-j", "list", "ruleset"], "").unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    for kind in ["table", "chain", "map", "set"] {
        assert_eq!(names(&rendered, kind), names(&listed, kind), "{kind}s");
        assert!(!names(&rendered, kind).is_empty(), "there are {kind}s");
    }
}

#[test]
fn render_needs_no_privileges_and_reads_standard_input() {
    let scene = Scene::new();
    let [one, ..] = scene.web_pods();
    scene.put_services(&[&one]);
    // The user nobody cannot enter root's directories: it gets a copy of the binary, and the input on stdin.
    let directory = tempfile::Builder::new().prefix("portolan-for-nobody").tempdir().unwrap();
    let copy = directory.path().join("portolan");
    std::fs::copy(portolan_integration::binary().unwrap(), &copy).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open).unwrap();
    let input = ["nodes.yaml", "web.yaml", "empty.yaml"]
        .map(|file| std::fs::read_to_string(scene.manifests.file(file)).unwrap())
        .concat();
    let arguments = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all"];
    let render = [copy.to_str().unwrap(), "render", "-f", "-", "--hostname-override", "node-a"];
    let all = [&arguments[..], &render, &["--cluster-cidr", CLUSTER_CIDR]].concat();
    let output = scene.lab.node_a.namespace().output("setpriv", &all, &input).unwrap();
    assert_code(&output, 0);
    assert_eq!(stdout(&output), stdout(&portolan(&scene, &["render"])));
}

#[test]
fn a_list_as_kubectl_prints_it_gives_the_same_rules() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    let expected = stdout(&portolan(&scene, &["render"]));
    let web = every_protocol(service("web", scene.lab.cluster_ip(1)), None);
    scene.manifests.remove("web.yaml").unwrap();
    let without = stdout(&portolan(&scene, &["render"]));
    assert_ne!(without, expected, "the Service was in the rules");
    let mut items = scene.lab.nodes().map(portolan_integration::Node::object).to_vec();
    items.push(web.object());
    items.extend(slices("web", &[&one, &two]));
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}});
    let directory = tempfile::tempdir().unwrap();
    let render = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let output =
            Agent::command(&scene.lab.node_a, &["render", "-f", file, "--hostname-override", "node-a"])
                .unwrap();
        assert_code(&output, 0);
        stdout(&output)
    };
    let documents = render("documents.yaml", &portolan_integration::Manifests::text(&items));
    assert!(documents.contains("default/web"), "{documents}");
    let yaml = render("list.yaml", &portolan_integration::Manifests::text(std::slice::from_ref(&list)));
    assert_eq!(yaml, documents, "a List in YAML");
    assert_eq!(render("list.json", &list.to_string()), documents, "a List in JSON");
}

/// The writer may never finish, and the agent may be the first process of its container, for which signals have no
/// default action.
#[test]
fn run_can_be_ended_while_it_reads_standard_input() {
    let namespace = Namespace::new("stdin").unwrap_or_else(|error| panic!("{error}"));
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(portolan_integration::binary().unwrap());
    command.args(["run", "-f", "-", "--hostname-override", "node-a"]);
    command.stdin(Stdio::piped()).stderr(log.reopen().unwrap());
    let mut child = namespace.enter(move || command.spawn()).unwrap();
    let patience = Duration::from_mins(1);
    // From then on the agent handles signals itself.
    let serving =
        eventually(patience, || std::fs::read_to_string(log.path()).unwrap().contains("Server listens"));
    signal::kill(Pid::from_raw(child.id().cast_signed()), signal::SIGTERM).unwrap();
    let mut status = None;
    eventually(patience, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let _ = child.kill();
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(serving.is_some(), "{log}");
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{log}");
    assert!(nft(&namespace, &["list", "tables"], "").unwrap().is_empty());
}
