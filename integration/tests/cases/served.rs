//! Manifests that do not mean what their authors intended, and manifests that once went wrong.

use super::{Answer, case, command, on, on_input};

#[test]
fn endpoints_without_slices_are_mirrored() {
    let answer = on("endpoints-object.yaml", &["trace", "outside", "10.96.7.7:5432"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stdout.starts_with("reaches 192.0.2.40:5432"), "{}", answer.stdout);
}

#[test]
fn misspelt_fields_and_kinds_are_named() {
    let answer = on("unknown-fields.yaml", &["render"]);
    for expected in [
        "Service shop/web: spec.externaltrafficPolicy: is not a field of spec, ignored; did you mean externalTrafficPolicy?",
        "Service shop/web: spec.ports[0].targetport: is not a field of a port, ignored; did you mean targetPort?",
        "document 2: kind: service is unknown and left out; did you mean Service?",
    ] {
        assert!(answer.stderr.contains(expected), "{expected}: {}", answer.stderr);
    }
    assert_eq!(answer.code, Some(0));
    let check = on("unknown-fields.yaml", &["check"]);
    for expected in [
        "warning Service shop/web, spec.externaltrafficPolicy: is not a field of spec, ignored; did you mean",
        "warning Service shop/web, spec.ports[0].targetport: is not a field of a port, ignored; did you mean",
    ] {
        assert!(check.stdout.contains(expected), "{expected}: {}", check.stdout);
    }
    assert_eq!(check.stdout.matches("[ignored-field]").count(), 2, "{}", check.stdout);
}

/// `check` finds values that the API server would refuse or would not have assigned.
#[test]
fn addresses_and_ports_out_of_range_are_found() {
    let text = "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, \
        spec: {cidrs: [10.96.0.0/12]}}\n---\n\
        {apiVersion: v1, kind: Service, metadata: {name: web}, \
        spec: {type: NodePort, clusterIP: 10.9.0.5, ports: [{port: 80, nodePort: 8080}]}}\n---\n\
        {apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {clusterIP: 10.96.0.300, ports: [{port: 80}]}}\n";
    let answer = on_input(text.as_bytes(), &["check"]);
    assert_eq!(answer.code, Some(2), "a Service is left out: {}", answer.stderr);
    for expected in [
        "Service default/web: ClusterIP 10.9.0.5 is not in a ServiceCIDR",
        "Service default/web: node port 8080 is outside the default range of API servers, 30000 to 32767",
        "Service default/bad: spec.clusterIP \"10.96.0.300\" is not an IP address",
    ] {
        assert_eq!(answer.stdout.matches(expected).count(), 1, "{expected}: {}", answer.stdout);
    }
    // An object from a cluster: the cluster has another node port range.
    let created = text
        .replace("metadata: {name: web}", "metadata: {name: web, creationTimestamp: 2026-01-01T00:00:00Z}");
    assert!(!on_input(created.as_bytes(), &["check"]).stdout.contains("node port 8080"));
}

#[test]
fn another_nodes_name_is_remarked_on() {
    let answer = on("wrong-node.yaml", &["render", "--hostname-override", "worker1"]);
    let expected =
        "the input has no Node worker1, only worker-1, worker-2; --hostname-override sets this node's name";
    assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    let right = on("wrong-node.yaml", &["render", "--hostname-override", "worker-1"]);
    assert_eq!((right.code, &*right.stderr), (Some(0), ""));
}

#[test]
fn each_service_without_an_answer_has_its_reason() {
    let answer = on("why-no-answer.yaml", &["check"]);
    for code in [
        "selector-matches-nothing",
        "no-container-port",
        "dropped-here",
        "not-ready",
        "no-load-balancer-address",
    ] {
        assert_eq!(answer.stdout.matches(&format!("[{code}]")).count(), 1, "{code}: {}", answer.stdout);
    }
    assert_eq!(answer.code, Some(1));
    let answer = on("port-name-differs.yaml", &["check"]);
    assert!(answer.stdout.contains("[no-such-port]"), "{}", answer.stdout);
}

/// For each Service that does not answer, each command names the cause in one line; `trace` also says what becomes of a
/// connection.
#[test]
fn the_cause_is_one_line_of_each_command() {
    for (file, service, fate, cause) in [
        ("why-no-answer.yaml", "typo", "refused", "selector app=wbe matches no Pod; 1 Pod has app=web"),
        (
            "why-no-answer.yaml",
            "named",
            "refused",
            "targetPort htttp: no container of the Pods has a port of this name; they have: http",
        ),
        (
            "why-no-answer.yaml",
            "local",
            "dropped",
            "this node has no endpoint and the policy is Local: connections are dropped here",
        ),
        ("why-no-answer.yaml", "notready", "refused", "not ready: condition Ready is False"),
        ("why-no-answer.yaml", "pending-lb", "reaches", "the load balancer has no address yet"),
        (
            "port-name-differs.yaml",
            "web",
            "refused",
            "no EndpointSlice has a port of this name; they have: (unnamed)",
        ),
    ] {
        let name = format!("shop/{service}");
        let line = |text: &str, of: &str| {
            let lines = text.lines().filter(|line| line.contains(of) && line.contains(cause)).count();
            assert_eq!(lines, 1, "{name}: {text}");
        };
        line(&on(file, &["check"]).stdout, &format!("Service {name}"));
        // `describe` wraps sentences at 80 columns; endpoints with the same reason come later.
        let describe = on(file, &["describe", "service", &name]).stdout;
        let words: Vec<_> = describe.split_whitespace().collect();
        assert!(words.join(" ").contains(cause), "{name}: {describe}");
        let trace = on(file, &["trace", "outside", &format!("svc/{name}:80")]);
        assert!(trace.stdout.starts_with(fate), "{name}: {}", trace.stdout);
        // The ClusterIP of a Service whose load balancer is pending answers.
        if fate != "reaches" {
            assert!(trace.stdout.contains(cause), "{name}: {}", trace.stdout);
        }
    }
}

#[test]
fn a_service_that_works_raises_no_alarm() {
    let demo = |name: &str| case("").join("../demo").join(name);
    let paths = [
        demo("2-cluster-ip.yaml"),
        demo("2-scaled.yaml"),
        demo("3-node-port.yaml"),
        demo("4-load-balancer.yaml"),
        case("as-people-write-it.yaml"),
        case("endpoints-object.yaml"),
        case("policy-flips.yaml"),
        case("ranges-come.yaml"),
        case("scaled-to-new-count.yaml"),
        case("sctp-keeps-port.yaml"),
    ];
    for path in paths {
        let mut check = command(&["check", "--fail-on", "warning", "-f"]);
        let answer = Answer::from(check.arg(&path).output().unwrap());
        assert_eq!(answer.code, Some(0), "{}: {}{}", path.display(), answer.stdout, answer.stderr);
        assert!(answer.stdout.contains("0 errors, 0 warnings, "), "{}: {}", path.display(), answer.stdout);
    }
}

#[test]
fn an_address_stays_with_the_service_that_it_was_given_to() {
    for (name, to) in [
        ("externalip-takes-clusterip.yaml", "10.96.40.10:80"),
        ("externalip-takes-loadbalancer.yaml", "203.0.113.10:80"),
    ] {
        let answer = on(name, &["trace", "outside", to]);
        assert!(answer.stdout.starts_with("reaches 10.244.1.10:8080"), "{name}: {}", answer.stdout);
    }
}

#[test]
fn an_endpoint_that_is_a_cluster_ip_is_left_out() {
    let answer = on("endpoint-is-clusterip.yaml", &["trace", "pod", "svc/default/front:80"]);
    assert!(answer.stdout.starts_with("refused"), "{}", answer.stdout);
    assert!(answer.stdout.contains("10.96.40.10"), "{}", answer.stdout);
}

#[test]
fn what_changes_while_packets_flow_is_served_in_each_state() {
    for (name, to, protocol) in [
        ("policy-flips.yaml", "203.0.113.10:53", "udp"),
        ("ranges-come.yaml", "203.0.113.10:53", "udp"),
        ("scaled-to-new-count.yaml", "203.0.113.10:53", "udp"),
        ("sctp-keeps-port.yaml", "10.96.40.10:5000", "sctp"),
    ] {
        let answer = on(name, &["trace", "outside=198.51.100.7", to, "-p", protocol]);
        assert_eq!(answer.code, Some(0), "{name}: {}{}", answer.stdout, answer.stderr);
    }
}

#[test]
fn every_case_is_tested() {
    let names = std::fs::read_dir(case("")).unwrap().map(|entry| entry.unwrap().file_name());
    let sources = [
        include_str!("configuration.rs"),
        include_str!("mistakes.rs"),
        include_str!("plain.rs"),
        include_str!("served.rs"),
    ]
    .concat();
    for name in names {
        let name = name.into_string().unwrap();
        assert!(sources.contains(&format!("\"{name}\"")), "{name}");
    }
}
