//! Manifests as users write them: values that a cluster would assign have stand-ins, which are marked.

use serde_json::Value;

use super::{Answer, case, command, on, on_input};

const MANIFEST: &str = "as-people-write-it.yaml";

/// Returns the word after each occurrence of `before` in a text, without the punctuation that follows.
fn words_after<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
    let rest = text.split(before).skip(1);
    rest.filter_map(|rest| rest.split([' ', ',', '\n']).next()).collect()
}

#[test]
fn a_deployment_and_a_service_show_the_whole_service() {
    let answer = on(MANIFEST, &["render", "--service-cluster-ip-range", "10.43.0.0/16"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    let comments: Vec<&str> = answer
        .stdout
        .lines()
        .take_while(|line| line.starts_with("#   ") || line.starts_with("# Stand-ins"))
        .collect();
    assert_eq!(comments.len(), 6, "{comments:?}");
    let address = words_after(comments[2], "ClusterIP ")[0];
    assert!(address.starts_with("10.43."), "{address}");
    let port: u16 = words_after(comments[2], "node port ")[0].parse().unwrap();
    assert!((30_000..=32_767).contains(&port));
    assert!(answer.stdout.contains(&format!("{address} . tcp . 80 comment \"shop/web\"")));
    assert!(answer.stdout.contains(&format!("tcp . {port} comment \"shop/web\"")));
    assert_eq!(answer.stdout.matches(". 8080").count(), 6, "three endpoints at two frontends");
    assert!(answer.stderr.contains("are stand-ins"), "{}", answer.stderr);
}

#[test]
fn every_output_marks_stand_ins() {
    let describe = on(MANIFEST, &["describe", "service", "shop/web"]).stdout;
    assert_eq!(describe.matches("(stand-in)").count(), 5, "two frontends and three endpoints: {describe}");
    let trace = on(MANIFEST, &["trace", "outside", "svc/shop/web:80"]).stdout;
    assert_eq!(trace.matches("(stand-in)").count(), 4, "a frontend and three endpoints: {trace}");
    for text in [&describe, &trace, &on(MANIFEST, &["check"]).stdout] {
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("with stand-ins for what a cluster would assign"), "{text}");
    }
    let json: Value = serde_json::from_str(&on(MANIFEST, &["render", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["nftables"][0]["metainfo"]["stand_ins"].as_array().unwrap().len(), 5);
}

#[test]
fn without_stand_ins_the_service_is_left_out_with_a_warning() {
    let answer = on(MANIFEST, &["render", "--no-stand-ins"]);
    assert!(answer.stderr.contains("Service shop/web: spec.clusterIP: is not set"), "{}", answer.stderr);
    assert!(!answer.stdout.contains("shop/web"));
}

#[test]
fn stand_ins_do_not_depend_on_the_order_of_the_input() {
    let service = |name: &str, spec: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{{spec} ports: [{{port: 80}}]}}}}\n"
        )
    };
    // Few addresses, so that the hashes of names collide and some names need another address.
    let names: Vec<String> = (0..10).map(|i| format!("s{i}")).collect();
    let mut documents: Vec<String> = names.iter().map(|name| service(name, "type: LoadBalancer,")).collect();
    let taken = "10.96.0.9";
    documents.push(service("own", &format!("clusterIP: {taken},")));
    let arguments = ["render", "--service-cluster-ip-range", "10.96.0.0/28"];
    let forth = on_input(documents.join("---\n").as_bytes(), &arguments);
    documents.reverse();
    let back = on_input(documents.join("---\n").as_bytes(), &arguments);
    assert_eq!(forth.code, Some(0), "{}", forth.stderr);
    assert_eq!(forth.stdout, back.stdout);
    let mut addresses = words_after(&forth.stdout, "ClusterIP ");
    assert_eq!(addresses.len(), 10);
    assert!(!addresses.contains(&taken));
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 10, "each Service has its own");
    for address in words_after(&forth.stdout, "load balancer address ") {
        assert!(address.starts_with("198.51.100."), "{address}");
    }
}

#[test]
fn what_is_left_without_is_reported() {
    let documents: Vec<String> = (0..10)
        .map(|i| format!("{{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}, spec: {{ports: [{{port: 80}}]}}}}\n"))
        .collect();
    let answer = on_input(
        documents.join("---\n").as_bytes(),
        &["render", "--service-cluster-ip-range", "10.96.0.0/29"],
    );
    let warnings = answer.stderr.matches("no ClusterIP in 10.96.0.0/29 is left for a stand-in").count();
    assert_eq!(warnings, 4, "{}", answer.stderr);
}

#[test]
fn every_kind_of_workload_has_its_pods() {
    let template = "template: {metadata: {labels: {app: web}}, spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}}";
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, \
        spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}}\n---\n";
    let nodes = "{apiVersion: v1, kind: Node, metadata: {name: node-1}}\n---\n\
        {apiVersion: v1, kind: Node, metadata: {name: node-2}}\n---\n";
    for (kind, version, spec, pods) in [
        ("Deployment", "apps/v1", format!("replicas: 3, {template}"), 3),
        ("Deployment", "apps/v1", template.to_owned(), 1),
        ("Deployment", "apps/v1", format!("replicas: 0, {template}"), 0),
        ("StatefulSet", "apps/v1", format!("replicas: 2, {template}"), 2),
        ("ReplicaSet", "apps/v1", format!("replicas: 2, {template}"), 2),
        ("ReplicationController", "v1", format!("replicas: 2, {template}"), 2),
        ("DaemonSet", "apps/v1", template.to_owned(), 2),
        ("Job", "batch/v1", format!("parallelism: 2, {template}"), 2),
        ("CronJob", "batch/v1", format!("jobTemplate: {{spec: {{{template}}}}}"), 1),
        // A workload from a cluster gets no stand-ins: its Pods are in the cluster.
        (
            "Deployment",
            "apps/v1",
            format!("replicas: 3, {template}}}, metadata: {{resourceVersion: '1', name: web"),
            0,
        ),
    ] {
        let metadata = if spec.contains("resourceVersion") { "" } else { "metadata: {name: web}, " };
        let workload = format!("{{apiVersion: {version}, kind: {kind}, {metadata}spec: {{{spec}}}}}\n");
        let answer =
            on_input(format!("{service}{nodes}{workload}").as_bytes(), &["describe", "service", "web"]);
        let found = answer.stdout.matches("(stand-in) Pod default/web-").count();
        assert_eq!(found, pods, "{workload}: {}{}", answer.stdout, answer.stderr);
    }
}

#[test]
fn pods_of_their_own_are_used_rather_than_a_template() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n---\n\
        {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3, template: {metadata: {labels: {app: web}}}}}\n---\n\
        {apiVersion: v1, kind: Pod, metadata: {name: one, labels: {app: web}}, status: {podIP: 10.0.0.1}}\n---\n\
        {apiVersion: v1, kind: Pod, metadata: {name: two, labels: {app: web}}}\n";
    let answer = on_input(text.as_bytes(), &["describe", "service", "web"]);
    assert!(answer.stdout.contains("10.0.0.1:80 Pod default/one"), "{}", answer.stdout);
    assert!(answer.stdout.contains("(stand-in) Pod default/two"), "{}", answer.stdout);
    assert!(answer.stdout.contains("2 of 2 endpoints"), "{}", answer.stdout);
}

#[test]
fn both_families_are_assigned_where_the_service_wants_them() {
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web}, \
        spec: {ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]}}\n";
    let answer = on_input(text.as_bytes(), &["render"]);
    let addresses = words_after(&answer.stdout, "ClusterIP ");
    assert!(
        matches!(*addresses, [v4, v6] if v4.starts_with("10.") && v6.starts_with("fd00:10:96::")),
        "{addresses:?}"
    );
}

#[test]
fn addresses_of_this_machine_go_in_only_when_asked_for() {
    let arguments = ["render", "--no-stand-ins"];
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web}, \
        spec: {type: NodePort, clusterIP: 10.96.0.5, ports: [{port: 80, nodePort: 30080}]}}\n";
    let without = on_input(text.as_bytes(), &arguments);
    let here = on_input(text.as_bytes(), &[&arguments[..], &["--host-addresses"]].concat());
    assert!(without.stderr.contains("node ports answer nowhere; --host-addresses"), "{}", without.stderr);
    assert_eq!(here.stderr, "");
    // A new network namespace has only loopback addresses, whatever this machine has.
    let elsewhere = Answer::from(
        std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--net"])
            .arg(portolan_integration::binary().unwrap())
            .args(["render", "-f"])
            .arg(case("as-people-write-it.yaml"))
            .env("NODE_NAME", "node-1")
            .output()
            .unwrap(),
    );
    assert_eq!(elsewhere.stdout, on("as-people-write-it.yaml", &["render"]).stdout);
    assert_eq!(elsewhere.code, Some(0), "{}", elsewhere.stderr);
}

#[test]
fn an_agent_takes_stand_ins_only_when_asked_to() {
    let run = |flag: &str| {
        let script = format!("\"$0\" run --once {flag} -f \"$1\" && nft list ruleset");
        Answer::from(
            std::process::Command::new("unshare")
                .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
                .arg(portolan_integration::binary().unwrap())
                .arg(case(MANIFEST))
                .env("NODE_NAME", "node-1")
                .output()
                .unwrap(),
        )
    };
    let without = run("");
    assert_eq!(without.code, Some(0), "{}", without.stderr);
    assert!(without.stdout.contains("table ip portolan") && !without.stdout.contains("shop/web"));
    let with = run("--stand-ins");
    assert_eq!(with.code, Some(0), "{}", with.stderr);
    assert!(with.stdout.contains("shop/web"), "{}", with.stdout);
    assert!(with.stderr.contains("Stand-ins are used for what a cluster would assign"), "{}", with.stderr);
}

#[test]
fn paths_are_given_as_for_kubectl() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("below/chart/templates");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::copy(case("port-name-differs.yaml"), directory.path().join("web.yaml")).unwrap();
    std::fs::copy(case("endpoints-object.yaml"), directory.path().join("below/db.yaml")).unwrap();
    // The templates of a chart are not manifests.
    std::fs::copy(case("helm-template.yaml"), below.join("web.yaml")).unwrap();
    std::fs::write(directory.path().join("below/chart/Chart.yaml"), "name: web\n").unwrap();
    let run =
        |arguments: &[&str]| Answer::from(command(arguments).current_dir(directory.path()).output().unwrap());
    let both = run(&["render", "-R", "-f", "."]);
    assert_eq!(both.code, Some(0), "{}", both.stderr);
    let one = run(&["render", "."]);
    for (answer, has_below) in [(&both, true), (&one, false)] {
        assert!(answer.stdout.contains("shop/web"));
        assert_eq!(answer.stdout.contains("prod/legacy-db"), has_below);
    }
    assert_eq!(one.stdout, run(&["render", "-f", "*.yaml"]).stdout);
    assert_eq!(one.stdout, run(&["render", "web.yaml"]).stdout);
    assert_eq!(run(&["check", "web.yaml"]).stdout, run(&["check", "-f", "web.yaml"]).stdout);
    for (path, expected) in [
        ("*.json", "is not the name of a file, nor a pattern that matches one"),
        (
            "https://192.0.2.1/web.yaml",
            "is a URL, and Portolan does not fetch URLs; pipe it in (curl -fsSL URL",
        ),
    ] {
        let answer = run(&["render", "-f", path]);
        assert_eq!((answer.code, &*answer.stdout), (Some(1), ""));
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    }
}

#[test]
fn the_configuration_file_of_the_agent_gives_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.conf");
    std::fs::write(
        &config,
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n\
         clusterCIDR: 10.9.0.0/16\nhostnameOverride: node-9\n",
    )
    .unwrap();
    let with_file = on(MANIFEST, &["render", "--config", config.to_str().unwrap()]);
    let with_flags =
        on(MANIFEST, &["render", "--cluster-cidr", "10.9.0.0/16", "--hostname-override", "node-9"]);
    assert_eq!(with_file.code, Some(0), "{}", with_file.stderr);
    assert_eq!(with_file.stdout, with_flags.stdout);
    assert!(with_file.stdout.contains("Pod shop/web-0: 10.9."), "Pods are in the cluster's range");
}
