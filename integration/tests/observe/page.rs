//! The page: in a browser and without one, with very many Services, and with unusual requests.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use portolan_integration::{Agent, CLUSTER_CIDR, Family, Protocol, Response, Slice, get, numbered};
use serde_json::json;
use socket2::{Domain, Type};

use crate::{
    browser::Browser,
    scene::{Scene, service, wait_until},
};

const PORT: u16 = 10249;

/// Starts an agent on node-a with the Services `web`, which has two Pods, and `empty`.
fn start(scene: &Scene) -> Agent {
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    Agent::start(&scene.lab.node_a, scene.manifests.path(), &["--cluster-cidr", CLUSTER_CIDR]).unwrap()
}

fn ask(agent: &Agent, path: &str) -> Response {
    agent.get(PORT, path).unwrap_or_else(|| panic!("{path}: no answer"))
}

#[test]
fn a_person_searches_opens_and_traces_a_service_that_breaks_meanwhile() {
    let scene = Scene::new();
    let _agent = start(&scene);
    let browser = Browser::start(scene.lab.node_a.namespace());
    browser.open(&format!("http://127.0.0.1:{PORT}/"));
    browser.wait_for(".status", "In sync");
    browser.wait_for("tbody", "default/empty");

    browser.enter("nav input", "default/we\u{e007}");
    browser.wait_for("main", "1 of 2 contain");
    browser.click("tbody a");
    browser.wait_for("h1", "default/web");
    assert!(browser.url().ends_with("/services/default/web"), "{}", browser.url());
    browser.wait_for(".picture", "50.0 %");
    browser.wait_for("main table", "1/2 of new connections");

    // The Service breaks while the page is open. The page shows this without a reload.
    scene.put_services(&[]);
    browser.wait_for(".picture", "refused");
    browser.wait_for("main", "the Service has no EndpointSlice");

    browser.click("nav a[href='/trace']");
    browser.wait_for("h1", "Trace");
    browser.enter("input[name=to]", "svc/default/web:80");
    browser.click("main form button");
    browser.wait_for("#answer", "refused");

    let [_, _, three] = scene_pods(&scene);
    scene.put_services(&[&three]);
    wait_until("the trace reaches the new Pod", || {
        browser.open(&browser.url());
        browser.text("#answer").contains("reaches")
    });

    browser.click("nav a[href='/commits']");
    browser.wait_for("main", "EndpointSlice default/web");
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// Starts other Pods than those of [`Scene::web_pods`].
fn scene_pods(scene: &Scene) -> [portolan_integration::Pod; 3] {
    ["web-4", "web-5", "web-6"].map(|name| scene.lab.node_b.pod(name).unwrap())
}

#[test]
fn the_page_is_readable_without_a_script_and_may_load_nothing_from_elsewhere() {
    let scene = Scene::new();
    let agent = start(&scene);
    for (path, parts) in [
        ("/", &["In sync", "default/web", "href=\"/services/default/web\"", "programmed"][..]),
        ("/?q=nothing+has+this+name", &["0 of 2 contain"]),
        ("/services/default/web", &["<svg", "50.0 %", "10.96.0.1:80", "Programmed as shown"]),
        ("/services/default/empty", &["refused", "no endpoint on this node"]),
        ("/trace?from=outside&to=%3A30080&protocol=tcp", &["reaches one of 2 endpoints, 50.0 % each"]),
        ("/trace?from=nowhere&to=svc%2Fdefault%2Fweb", &["FROM: &quot;nowhere&quot; is not an IP address"]),
        ("/commits", &["operations in", "at the start", "Service default/empty"]),
    ] {
        let page = ask(&agent, path);
        assert_eq!(page.code, 200, "{path}");
        for part in parts {
            assert!(page.body.contains(part), "{path} has no {part:?}:\n{}", page.body);
        }
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        for part in ["style=", "onclick", "onload", "http://", "https://"] {
            let body = page.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains(part), "{path} has {part:?}:\n{body}");
        }
    }
    for (path, kind) in
        [("/page.css", "text/css"), ("/page.js", "text/javascript"), ("/page.svg", "image/svg+xml")]
    {
        let file = ask(&agent, path);
        assert_eq!(file.code, 200);
        assert!(file.header("content-type").unwrap().starts_with(kind));
    }
    let missing = ask(&agent, "/services/default/%3Cscript%3E");
    assert_eq!(missing.code, 404);
    assert!(
        !missing.body.contains("<script>") && missing.body.contains("&lt;script&gt;"),
        "{}",
        missing.body
    );
}

#[test]
fn connections_are_counted_as_they_were_made() {
    let scene = Scene::new();
    let [one, two, _] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    let arguments = ["--cluster-cidr", CLUSTER_CIDR, "--endpoint-counters"];
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &arguments).unwrap();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let answers = scene.shell.client().many(Protocol::Tcp, target, 40, 2);
    let made = |name: &str| answers.iter().filter(|answer| answer.server() == Some(name)).count();
    let made = [(&one, made("web-1")), (&two, made("web-2"))];
    assert_eq!(made.iter().map(|(_, count)| count).sum::<usize>(), 40);
    wait_until("the page shows what was counted", || {
        let page = ask(&agent, "/services/default/web").body;
        made.iter().all(|(pod, count)| {
            let endpoint = format!("<code>{}</code>", pod.address().port(Family::V4, 8080));
            // Only the row of TCP counts; the other protocols have the same addresses.
            let tcp = page.split("<h2>").skip(1).find(|part| part.contains("80/tcp (ip)"));
            let row = tcp.and_then(|part| part.split(&endpoint).nth(1)?.split("</tr>").next());
            row.is_some_and(|row| row.contains(&format!("<td class=\"number\">{count}</td>")))
        })
    });
}

#[test]
fn a_service_shows_its_live_connections() {
    let scene = Scene::new();
    let [one, two, three] = scene.web_pods();
    scene.put_services(&[&one, &two]);
    let arguments = ["--cluster-cidr", CLUSTER_CIDR];
    let agent = Agent::start(&scene.lab.node_a, scene.manifests.path(), &arguments).unwrap();
    let shell = scene.shell.client();
    let target = scene.lab.cluster_ip(1).port(Family::V4, 80);
    let connections =
        || ask(&agent, "/services/default/web").body.split("<h2>Connections</h2>").nth(1).unwrap().to_owned();
    assert!(connections().starts_with("<p>None.</p>"), "{}", connections());
    let open = shell.open(target).unwrap();
    assert!(open.answer().server().is_some());
    let shown = connections();
    for part in [
        format!("<code>{target}</code>/tcp"),
        "ESTABLISHED".to_owned(),
        format!("<code>{}:", scene.shell.address().v4),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    assert!(!ask(&agent, "/services/default/empty").body.contains("ESTABLISHED"));

    // The connection stays when its endpoint goes, and is marked.
    scene.put_services(&[&three]);
    wait_until("the connection leads to an endpoint that is gone", || connections().contains(" (gone)"));
    drop(open);

    // Of very many connections, only some are shown.
    let many: Vec<_> = (0..150).map(|_| shell.open(scene.lab.cluster_ip(1).port(Family::V6, 80))).collect();
    let shown = connections();
    assert!(shown.contains(" more</p>"), "{} connections: {shown}", many.len());
}

#[test]
fn ten_thousand_services_are_shown_some_at_a_time() {
    let scene = Scene::new();
    let services: Vec<_> = (0..10_000).flat_map(|n| numbered(n, 1..=5)).collect();
    scene.manifests.put("many.yaml", &services).unwrap();
    // The most ports and endpoints that a Service may have.
    let ports = || (1..=100_u16).map(|port| (format!("port-{port}"), port));
    let large = ports().fold(service("large", scene.lab.cluster_ip(3)), |service, (name, port)| {
        service.port(&name, Protocol::Tcp, port)
    });
    let mut slice = ports()
        .fold(Slice::new("large", Family::V4), |slice, (name, port)| slice.port(&name, Protocol::Tcp, port))
        .object();
    let endpoint = |n: u16| {
        let [high, low] = n.to_be_bytes();
        json!({"addresses": [Ipv4Addr::new(10, 200, high, low).to_string()], "conditions": {"ready": n.is_multiple_of(2)}, "nodeName": "node-b"})
    };
    slice["endpoints"] = (1..=1000).map(endpoint).collect();
    scene.put("large.yaml", &large, vec![slice]);
    let agent =
        Agent::start(&scene.lab.node_a, scene.manifests.path(), &["--cluster-cidr", CLUSTER_CIDR]).unwrap();
    let first = ask(&agent, "/");
    assert!(first.body.contains("10,001 in this cluster") && first.body.contains("page 1 of 101"));
    let link = first.body.split("href=\"/services/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let pages = [
        "/".to_owned(),
        "/?page=100".to_owned(),
        "/?page=18446744073709551615".to_owned(),
        "/?q=9&page=2".to_owned(),
        format!("/services/{link}"),
        "/services/default/large".to_owned(),
        "/trace?from=pod&to=10.96.0.1:80".to_owned(),
        "/commits".to_owned(),
    ];
    for path in &pages {
        let page = ask(&agent, path);
        assert_eq!(page.code, 200, "{path}");
        assert!(page.body.len() < 1_000_000, "{path}: {} bytes", page.body.len());
    }
    let found = ask(&agent, &format!("/?q={}", link.replace('/', "%2F")));
    assert!(found.body.contains(&format!("href=\"/services/{link}\"")), "{}", found.body);
}

#[test]
fn a_client_that_reads_nothing_delays_no_other() {
    let scene = Scene::new();
    let agent = start(&scene);
    let namespace = scene.lab.node_a.namespace();
    let target: SocketAddr = (Ipv4Addr::LOCALHOST, PORT).into();
    let mut idle = Vec::new();
    for _ in 0..60 {
        let socket = namespace.socket(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1024).unwrap();
        socket.connect(&target.into()).unwrap();
        let mut stream = TcpStream::from(socket);
        for _ in 0..20 {
            stream.write_all(b"GET /services/default/web HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        }
        idle.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(ask(&agent, "/services/default/web").code, 200);
        assert_eq!(get(namespace, (Ipv4Addr::LOCALHOST, 10256).into(), "/healthz").unwrap().code, 200);
    }
}
