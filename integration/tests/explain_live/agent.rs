//! Commands on the state of the running agent and on the kernel's tables.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use portolan_integration::{Agent, Family, Pod, Protocol, Slice, eventually, nft, numbered};
use serde_json::Value;

use crate::{
    manifests::service,
    running::{PATIENCE, Running},
    shared::{Answer, portolan},
};

#[test]
fn the_agent_says_what_it_holds_and_the_kernel_is_compared() {
    let running = Running::new(&[]);
    let answer = running.run(&["describe", "service", "web"]);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{answer:?}");
    let text = answer.unbroken();
    assert!(text.contains("from the agent on node node-a (process "), "{text}");
    assert!(text.contains("in sync since "), "{text}");
    assert!(answer.stdout.contains("NodePort 192.0.2."), "{}", answer.stdout);
    assert!(answer.stdout.contains("1/2 (50.0 %)"), "{}", answer.stdout);
    assert!(answer.stdout.ends_with("Kernel: does the same at all 4 frontends\n"), "{}", answer.stdout);

    for to in [
        "svc/default/web",
        "web.default.svc:80",
        ":30080",
        &running.scene.lab.cluster_ip(1).port(Family::V4, 80).to_string(),
    ] {
        let answer = running.run(&["trace", "outside", to]);
        assert_eq!(answer.code, Some(0), "{to}: {answer:?}");
        assert!(answer.stdout.contains("the kernel's tables do the same"), "{to}: {}", answer.stdout);
    }
    let answer = running.run(&["describe", "service", "wbe"]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.ends_with("did you mean default/web?\n"), "{}", answer.stderr);
    assert_eq!(running.run(&["check"]).code, Some(0));
}

#[test]
fn what_the_kernel_does_otherwise_is_named() {
    // The next full comparison comes only after an hour; repairs begin at once.
    let running = Running::new(&[]);
    let rules = running.nft(&["list", "map", "ip", "portolan", "node-ports"]);
    assert!(rules.contains("30080"), "{rules}");
    let changing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        // Again and again, so that the back-off of repairs grows.
        scope.spawn(|| {
            while changing.load(std::sync::atomic::Ordering::Relaxed) {
                running.nft(&["flush", "map", "ip", "portolan", "node-ports"]);
            }
        });
        let differs = || {
            let answer = running.run(&["describe", "service", "web"]);
            let trace = running.run(&["trace", "outside", ":30080"]);
            answer.stdout.contains("Kernel differs at 192.0.2.")
                && answer.stdout.contains(":30080 (every node): from ")
                && trace.stdout.contains("but the kernel's tables do otherwise: left alone")
        };
        let seen = eventually(PATIENCE, differs);
        changing.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(seen.is_some(), "{:?}", running.run(&["describe", "service", "web"]));
    });
}

#[test]
fn the_kernel_is_compared_where_its_sets_are_large() {
    let running = Running::new(&[]);
    let many: Vec<Value> = (0..2_500).flat_map(|number| numbered(number, 0..2)).collect();
    running.scene.manifests.put("many.yaml", &many).unwrap();
    let trace = || running.run(&["trace", "outside", "svc/default/many-7"]);
    let same = || trace().stdout.contains("the kernel's tables do the same");
    assert!(eventually(PATIENCE, same).is_some(), "{:?}", trace());
    let changing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while changing.load(std::sync::atomic::Ordering::Relaxed) {
                // One of these maps exists: outgrown sets are replaced by sets with other names.
                for map in ["endpoints", "endpoints-b"] {
                    let _ = nft(
                        running.scene.lab.node_a.namespace(),
                        &["flush", "map", "ip", "portolan", map],
                        "",
                    );
                }
            }
        });
        let seen =
            eventually(PATIENCE, || trace().stdout.contains("but the kernel's tables do otherwise: refused"));
        changing.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(seen.is_some(), "{:?}", trace());
    });
    assert!(eventually(PATIENCE, same).is_some(), "{:?}", trace());
}

#[test]
fn the_socket_is_for_its_owner_alone_and_another_user_gets_one_line() {
    let running = Running::new(&[]);
    let mode = fs::metadata(running.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::set_permissions(running.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = portolan_integration::binary().unwrap().display().to_string();
    let socket = running.socket().display().to_string();
    let file = running.directory.path().join("bundle.tar.gz");
    for (command, expected) in [
        (&["check", "--socket", &socket][..], "only root may ask the agent that runs here"),
        (
            &["support-bundle", "--file", file.to_str().unwrap(), "--socket", &socket],
            "only root may ask the agent that runs here",
        ),
        (&["flows", "--table-name", "without-agent"], "only root may"),
    ] {
        let arguments = [&["--reuid=65534", "--clear-groups", &binary], command].concat();
        let output = running.scene.lab.node_a.namespace().output("setpriv", &arguments, "").unwrap();
        let answer = Answer::from(output);
        assert_eq!((answer.code, &*answer.stdout), (Some(2), ""), "{answer:?}");
        assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    }
    assert!(!file.exists());
}

#[test]
fn the_state_is_a_manifest_of_its_own() {
    let running = Running::new(&[]);
    let mut text = String::new();
    running.connect("GET /state HTTP/1.0\r\n\r\n").read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let first: Value = serde_json::from_str(body.lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["node"]), (&"AgentState".into(), &"node-a".into()));
    let file = running.directory.path().join("state.json");
    fs::write(&file, body).unwrap();
    let file = file.display().to_string();
    let namespace = running.scene.lab.node_a.namespace();
    let answer = portolan(namespace, &["diff", "-f", &file, "--hostname-override", "node-a"]);
    assert!(answer.code == Some(0) && answer.stdout.starts_with("No difference"), "{answer:?}");
}

#[test]
fn a_reader_that_does_not_read_delays_no_other() {
    let running = Running::new(&[]);
    let idle: Vec<_> = (0..40).map(|_| running.connect("GET /state HTTP/1.0\r\n")).collect();
    assert_eq!(running.run(&["check"]).code, Some(0), "the oldest connections are closed");
    let strange = [
        "",
        "\r\n\r\n",
        "GET /state?service=x HTTP/1.0\r\n\r\n",
        "GET /state?x=y HTTP/1.0\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ];
    for request in strange {
        let mut stream = running.connect(request);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        assert!(!text.starts_with(b"HTTP/1.0 200"), "{request:?}");
    }
    let mut long = running.connect("GET /state HTTP/1.0\r\n");
    let _ = long.write_all("x: y\r\n".repeat(100_000).as_bytes());
    assert_eq!(running.run(&["check"]).code, Some(0));
    drop(idle);
}

#[test]
fn an_agent_takes_the_place_of_one_that_was_killed_and_only_of_that() {
    let running = Running::new(&[]);
    let Running { scene, agent, directory, pods: _pods } = running;
    let socket = directory.path().join("agent.sock").display().to_string();
    // The second agent has other tables, so that the two agents share only the socket.
    let second = [
        "--socket",
        &*socket,
        "--table-name",
        "second",
        "--healthz-bind-address=",
        "--metrics-bind-address=",
    ];
    let other = Agent::spawn(&scene.lab.node_a, scene.manifests.path(), &second).unwrap();
    let refused = || other.stderr().contains("another agent is using the socket");
    assert!(eventually(PATIENCE, refused).is_some(), "{}", other.stderr());
    agent.kill().unwrap();
    let takes_over = || {
        let answer = portolan(scene.lab.node_a.namespace(), &["check", "--socket", &socket]);
        answer.stdout.contains("from the agent on node node-a")
    };
    assert!(eventually(PATIENCE, takes_over).is_some(), "{}", other.stderr());
}

#[test]
fn without_an_agent_the_kernels_tables_are_read() {
    let running = Running::new(&["--table-name", "edge"]);
    let Running { scene, agent, .. } = running;
    agent.kill().unwrap();
    let namespace = scene.lab.node_a.namespace();
    let answer = portolan(namespace, &["describe", "service", "web", "--table-name", "edge"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let text = answer.unbroken();
    assert!(text.contains("from the kernel's tables edge, now: no agent listens here"), "{text}");
    assert!(
        answer.stdout.contains("ClusterIP 10.96.0.1:80") && answer.stdout.contains("(every node)"),
        "{}",
        answer.stdout
    );
    assert_eq!(answer.stdout.matches("1/2 (50.0 %)").count(), 4, "{}", answer.stdout);
    assert!(!answer.stdout.contains("\nKernel"), "compared with itself: {}", answer.stdout);
    assert!(!answer.stdout.contains(" on :"), "the other node's name is not known: {}", answer.stdout);
}

#[test]
fn services_and_endpoints_are_listed_with_the_connections_that_were_made() {
    let running = Running::new(&["--endpoint-counters"]);
    let target = running.scene.lab.cluster_ip(1).port(Family::V4, 80);
    let mut answered = std::collections::BTreeMap::new();
    for answer in running.scene.shell.client().many(Protocol::Tcp, target, 40, 4) {
        *answered.entry(answer.server().unwrap().to_owned()).or_insert(0_u64) += 1;
    }
    let read = || -> Value {
        let answer = running.run(&["get", "services", "web", "-o", "json"]);
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    };
    let counted = eventually(PATIENCE, || read()["items"][0]["connections"] == 40);
    let list = read();
    assert!(counted.is_some(), "{list:#}");
    assert_eq!((&list["kind"], &list["items"][0]["state"]), (&"ServiceList".into(), &"programmed".into()));
    let port = &list["items"][0]["ports"][0];
    for (number, pod) in running.pods.iter().take(2).enumerate() {
        let endpoint = &port["endpoints"][number];
        assert_eq!(endpoint["address"], pod.address().port(Family::V4, 8080).to_string());
        assert_eq!(endpoint["connections"], answered[pod.name()], "{port:#}");
        assert_eq!(endpoint["share"], 0.5);
    }
    let table = running.run(&["get", "svc", "-A"]);
    let lines: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let heads = [
        "NAMESPACE",
        "NAME",
        "TYPE",
        "CLUSTER-IP",
        "EXTERNAL-IP",
        "PORT(S)",
        "ENDPOINTS",
        "STATE",
        "CONNECTIONS",
    ];
    assert_eq!(lines[0], heads);
    assert_eq!(&lines[1][..3], ["default", "web", "NodePort"]);
    assert_eq!(&lines[1][5..], ["80:30080/TCP", "4/4", "programmed", "40"]);
    assert!(table.stderr.contains("from the agent on node node-a"), "{}", table.stderr);

    let endpoints = running.run(&["get", "endpoints", "--no-headers"]);
    assert_eq!(endpoints.stdout.lines().count(), 4, "{}", endpoints.stdout);
    assert!(endpoints.stdout.lines().all(|line| line.contains("50.0%   used")), "{}", endpoints.stdout);
    assert_eq!(running.run(&["get", "services", "-o", "name"]).stdout, "service/web\n");
    let yaml = running.run(&["get", "services", "-o", "yaml"]).stdout;
    assert!(yaml.contains("kind: ServiceList") && yaml.contains("connections: 40"), "{yaml}");
    let missing = running.run(&["get", "services", "wbe"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("did you mean default/web?"), "{}", missing.stderr);
    assert_eq!(running.run(&["get", "services", "-n", "other"]).stdout, "");
}

#[test]
fn the_last_commits_say_what_they_changed_and_why() {
    let running = Running::new(&[]);
    let web = service("web", running.scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    running.scene.put(
        "web.yaml",
        &web,
        Slice::both("web", ("http", Protocol::Tcp, 8080), &[&running.pods[2]]),
    );
    let changed = eventually(PATIENCE, || running.run(&["get", "commits"]).stdout.contains(" change: "));
    let answer = running.run(&["get", "commits", "-o", "json"]);
    assert!(changed.is_some(), "{answer:?}");
    let list: Value = serde_json::from_str(&answer.stdout).unwrap();
    let commits = list["commits"].as_array().unwrap();
    assert_eq!(commits.last().unwrap()["cause"], "start", "the newest is the first: {list:#}");
    let change = commits.iter().find(|commit| commit["cause"] == "change").unwrap();
    assert_eq!((&change["succeeded"], &list["lastFailure"]), (&true.into(), &Value::Null));
    let objects = change["objects"].as_array().unwrap();
    assert!(objects.contains(&"Service default/web".into()), "{change:#}");
    let sample = change["sample"].as_array().unwrap();
    assert!(sample.iter().any(|line| line.as_str().unwrap().contains("element ip portolan ")), "{change:#}");
}

/// With session affinity, `trace` reports the endpoint that connections reach.
#[test]
fn a_client_that_is_remembered_is_traced_to_its_endpoint() {
    let running = Running::new(&["--table-name", "sticky"]);
    let scene = &running.scene;
    let sticky = service("web", scene.lab.cluster_ip(1))
        .port("http", Protocol::Tcp, 80)
        .with("/spec/sessionAffinity", "ClientIP")
        .with("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", 3600);
    scene.put(
        "web.yaml",
        &sticky,
        Slice::both("web", ("http", Protocol::Tcp, 8080), &[&running.pods[0], &running.pods[1]]),
    );
    for family in Family::BOTH {
        let client = scene.shell.address().of(family).to_string();
        let target = scene.lab.cluster_ip(1).port(family, 80);
        let trace = || running.run(&["trace", &client, &target.to_string()]);
        let first = format!(
            "the first connection of client {client} chooses an endpoint; the second, within 3600 s, goes to the same one"
        );
        let is_first = || {
            let answer = trace();
            answer.stdout.starts_with("reaches one of 2 endpoints, 50.0 % each")
                && answer.stdout.contains(&first)
                && answer.stdout.contains("the kernel's tables do the same")
        };
        assert!(eventually(PATIENCE, is_first).is_some(), "{:?}", trace());

        let answer = scene.shell.client().tcp(target);
        let server = answer.server().unwrap();
        let pod = running.pods.iter().find(|pod| pod.name() == server).unwrap();
        let endpoint = pod.address().port(family, 8080);
        let remembered = format!("client {client} is remembered, and goes to {endpoint} again");
        let answer = trace();
        assert_eq!(answer.code, Some(0), "{answer:?}");
        assert!(answer.stdout.starts_with(&format!("reaches {endpoint}; source kept\n")), "{answer:?}");
        assert!(answer.stdout.contains(&remembered), "{answer:?}");
        assert!(answer.stdout.contains(": not for this client\n"), "the other one: {answer:?}");
        for _ in 0..10 {
            assert_eq!(scene.shell.client().tcp(target).server(), Some(server), "as it was traced");
        }
        // Another client is not remembered.
        let other = scene.lab.client_address().of(family).to_string();
        let answer = running.run(&["trace", &other, &target.to_string()]);
        assert!(answer.stdout.contains(&format!("the first connection of client {other}")), "{answer:?}");
    }

    // Without the agent, the kernel's tables give the same answer.
    let Running { scene, agent, pods: _pods, directory: _directory } = running;
    agent.kill().unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80).to_string();
    let client = scene.shell.address().v4.to_string();
    let answer =
        portolan(scene.lab.node_a.namespace(), &["trace", &client, &target, "--table-name", "sticky"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(answer.stdout.contains(&format!("client {client} is remembered, and goes to ")), "{answer:?}");
    assert!(answer.stdout.contains("from the kernel's tables"), "{answer:?}");
}

#[test]
fn names_of_services_are_completed_from_the_agent() {
    let running = Running::new(&[]);
    let other = r"{apiVersion: v1, kind: Service, metadata: {name: wiki, namespace: shop}, spec: {clusterIP: 10.96.0.201, ports: [{port: 80}]}}";
    running.scene.manifests.put_text("wiki.yaml", other).unwrap();
    let script = "PATH=$1:$PATH; shift; source <(portolan completions bash)
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
        _clap_complete_portolan portolan \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let binary = portolan_integration::binary().unwrap();
    let directory = binary.parent().unwrap().display().to_string();
    let socket = running.socket().display().to_string();
    let offered = |words: &[&str]| {
        let words = [&["-c", script, "bash", &directory, "portolan"], words].concat();
        let output = running.scene.lab.node_a.namespace().output("bash", &words, "").unwrap();
        Answer::from(output).stdout
    };
    let both = ["describe", "service", "--socket", &socket, "w"];
    let seen = eventually(PATIENCE, || offered(&["draw", "--socket", &socket, "shop/"]) == "shop/wiki\n");
    assert!(seen.is_some(), "{}", offered(&both));
    assert_eq!(offered(&both), "web\n");
    assert_eq!(offered(&["get", "services", "--socket", &socket, "-n", "shop", "w"]), "wiki\n");
    assert_eq!(offered(&["trace", "outside", "--socket", &socket, "svc/d"]), "svc/default/web\n");
}

#[test]
fn a_service_is_drawn_from_what_the_agent_holds() {
    let running = Running::new(&[]);
    for arguments in [&["draw", "web"][..], &["draw", "-n", "default"], &["draw"]] {
        let answer = running.run(arguments);
        assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{answer:?}");
        for part in [
            "Service default/web",
            "NodePort :30080 of every node",
            "─ 50.0 % ─▶",
            "from the agent on node node-a",
        ] {
            assert!(answer.stdout.contains(part), "{part}:\n{}", answer.stdout);
        }
    }
    let unknown = running.run(&["draw", "wbe"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(1), ""), "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean default/web?"), "{}", unknown.stderr);
}

#[test]
fn live_connections_are_listed_with_the_endpoint_that_took_them() {
    let running = Running::new(&[]);
    let shell = running.scene.shell.client();
    let target = running.scene.lab.cluster_ip(1).port(Family::V4, 80);
    let open = shell.open(target).unwrap();
    let taken_by = open.answer().server().unwrap().to_owned();
    let other = shell.open(running.scene.lab.cluster_ip(1).port(Family::V6, 80)).unwrap();
    let list = |arguments: &[&str]| -> Vec<Value> {
        let answer = running.run(&[&["flows"], arguments, &["-o", "json"]].concat());
        assert_eq!(answer.code, Some(0), "{answer:?}");
        serde_json::from_str(&answer.stdout).unwrap()
    };
    let flows = list(&["web"]);
    let of =
        |flows: &[Value]| flows.iter().find(|flow| flow["frontend"] == target.to_string()).cloned().unwrap();
    let flow = of(&flows);
    let pod = running.pods.iter().find(|pod| pod.name() == taken_by).unwrap();
    assert_eq!(flow["endpoint"], pod.address().port(Family::V4, 8080).to_string());
    assert!(
        flow["client"].as_str().unwrap().starts_with(&running.scene.shell.address().v4.to_string()),
        "{flow}"
    );
    assert_eq!((&flow["service"], &flow["port"]), (&"default/web".into(), &"http".into()));
    assert_eq!((&flow["state"], &flow["stale"]), (&"ESTABLISHED".into(), &Value::Null));
    assert_eq!(list(&[]).len(), flows.len(), "all Services: there is one");
    let counted: u64 = list(&["--count"]).iter().map(|count| count["connections"].as_u64().unwrap()).sum();
    assert_eq!(counted, flows.len() as u64);
    let client = running.scene.shell.address().v4.to_string();
    let trace = running.run(&["trace", &client, &target.to_string()]).stdout;
    assert!(trace.contains("connection tracking has 1 connection of this client"), "{trace}");

    // The connection stays when its endpoint goes, and is marked.
    let rest: Vec<&Pod> = running.pods.iter().filter(|pod| pod.name() != taken_by).collect();
    let web = service("web", running.scene.lab.cluster_ip(1)).port("http", Protocol::Tcp, 80);
    running.scene.put("web.yaml", &web, Slice::both("web", ("http", Protocol::Tcp, 8080), &rest));
    let is_stale = || of(&list(&["web"]))["stale"] == "gone";
    assert!(eventually(PATIENCE, is_stale).is_some(), "{:#}", of(&list(&["web"])));
    let table = running.run(&["flows", "web"]).stdout;
    assert!(table.starts_with("SERVICE       PORT       CLIENT"), "{table}");
    drop((open, other));
    assert_eq!(running.run(&["flows", "wbe"]).code, Some(1));
}

#[test]
fn a_support_bundle_has_everything_and_no_credentials() {
    let running = Running::new(&[]);
    let file = running.directory.path().join("bundle.tar.gz").display().to_string();
    let answer = running.run(&["support-bundle", "--file", &file]);
    assert_eq!((answer.code, &*answer.stderr), (Some(0), ""), "{answer:?}");
    assert!(!answer.stdout.contains("missing"), "{}", answer.stdout);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let namespace = running.scene.lab.node_a.namespace();
    let directory = running.directory.path().display().to_string();
    let unpacked =
        namespace.output("tar", &["-xzf", &file, "-C", &directory, "--strip-components=1"], "").unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let read = |name: &str| fs::read_to_string(running.directory.path().join(name)).unwrap();
    assert_eq!(read("difference.txt"), "");
    assert!(read("tables.nft").contains("table ip portolan"), "{}", read("tables.nft"));
    assert!(read("metrics.txt").contains("portolan_"));
    assert!(
        read("commits.json").contains("\"cause\": \"start\"")
            || read("commits.json").contains("\"cause\":\"start\"")
    );
    assert!(read("versions.txt").starts_with("portolan "));
    assert!(read("configuration.json").contains("kubeproxy.config.k8s.io"));
    for name in ["README.txt", "findings.txt", "flows.txt", "sysctls.txt", "status.txt", "connections.json"] {
        assert!(answer.stdout.contains(name) || name == "README.txt");
        read(name);
    }
    let state = running.directory.path().join("state.json").display().to_string();
    let again = portolan(namespace, &["get", "services", "-f", &state, "-o", "name"]);
    assert_eq!(again.stdout, "service/web\n", "{again:?}");
    // To standard output, as in a Pod with a read-only root.
    let binary = portolan_integration::binary().unwrap().display().to_string();
    let script =
        format!("{binary} support-bundle --socket {} --file - | tar -tzf -", running.socket().display());
    let listed = namespace.filter("sh", &["-c", &script], "").unwrap();
    assert!(listed.contains("/state.json\n") && listed.contains("/README.txt\n"), "{listed}");
}
