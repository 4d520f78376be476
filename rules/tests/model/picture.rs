//! Pictures: what they show, and that they are well formed whatever a cluster holds.

use std::sync::Arc;

use portolan_rules::{
    comparison::{compare, explained},
    explanation::{Rules, View, Workloads},
    model::{Endpoint, Node, ObjectName, TrafficPolicy},
    picture::{
        PAGE_STYLE, Picture, STYLE, State, Subject, dot, html, mermaid, overlay, overview, picture, svg, text,
    },
    ruleset::{Family, Ruleset},
    simulate::Host,
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRunner};

use crate::{
    cluster::Cluster,
    places::Place,
    scene::{Scene, in_both_families},
    strategies::cluster,
};

/// Characters that have a meaning in one of the notations, or to a terminal.
const ODD: &str = "<b a='1'>\"&]]>--> \\ | #35; [x](y) `\u{1b}[31m\u{0}\u{202e}\n%s";

/// The pictures of a cluster: of all Services, and the overview.
fn draw(cluster: &Cluster, nodes: &[Node]) -> [Picture; 2] {
    let (compiler, state) = cluster.load(&Ruleset::default(), 0);
    let (rules, host) = (Rules::default(), Host { local_addresses: cluster.host.clone() });
    let workloads = Workloads::default().with_nodes(nodes.iter().cloned().map(Arc::new));
    let view = View { state: &state, compiler: &compiler, rules: &rules, host: &host, workloads: &workloads };
    let services = view.services();
    [picture(&view, &services, "from a test"), overview(&view, &services, "from a test")]
}

/// Every notation, with its name.
fn notations(picture: &Picture) -> [(&'static str, String); 5] {
    [
        ("text", text(picture)),
        ("svg", svg(picture)),
        ("html", html(picture)),
        ("mermaid", mermaid(picture)),
        ("dot", dot(picture)),
    ]
}

/// A Service with every kind of frontend and endpoint, as node `here` in zone `east` sees it.
fn shop(scene: Scene) -> Scene {
    let mut scene = scene
        .service(1, "L1 L2/weight=3 R1 R2/t R3/n R4/x R5/weight=0 R6/on=far")
        .exposed()
        .external_local()
        .edit(|service| service.affinity_timeout = Some(600))
        .service(2, "R1/t R2/t")
        .service(3, "")
        .service(4, "R1")
        .exposed()
        .external_local()
        .service(5, "R1");
    // It waits for the frontend of the first Service.
    let taken = scene.cluster.services[0].external_ips.clone();
    scene.cluster.services[4].external_ips = taken;
    scene
}

fn nodes() -> [Node; 3] {
    let node = |name: &str, zone: &str, addresses: [&str; 2]| {
        let [inside, outside] = addresses.map(|address| address.parse().unwrap());
        Node {
            name: name.into(),
            zone: Some(zone.into()),
            addresses: vec![inside, outside],
            external_addresses: vec![outside],
            ..Node::default()
        }
    };
    [
        node("there", "east", ["172.16.0.12", "192.0.2.12"]),
        node("far", "west", ["172.16.0.13", "192.0.2.13"]),
        node("idle", "west", ["172.16.0.14", "192.0.2.14"]),
    ]
}

#[test]
fn every_notation_shows_frontends_nodes_shares_and_reasons() {
    in_both_families(|scene| {
        if scene.family == Family::Ip6 {
            return;
        }
        let [whole, overview] = draw(&shop(scene).cluster, &nodes());
        // The style is not compared.
        let without_style = |text: &str| text.replace(PAGE_STYLE, "…").replace(STYLE, "…");
        for (name, text) in notations(&whole) {
            insta::assert_snapshot!(format!("services_as_{name}"), without_style(&text));
        }
        for (name, text) in notations(&overview) {
            insta::assert_snapshot!(format!("overview_as_{name}"), without_style(&text));
        }
    });
}

/// Two states of Services: endpoints go, come and become unready; a frontend and a Service are gone.
fn changed(scene: &Scene) -> [Cluster; 2] {
    let before = scene.cluster.clone();
    let mut after = before.clone();
    after.services[0].external_ips.clear();
    after.services[0].external_policy = TrafficPolicy::Cluster;
    let endpoints = &mut after.slices[0].endpoints;
    endpoints.remove(0);
    endpoints[1].ready = false;
    endpoints[1].serving = false;
    let new = Place::RemotePod(20).address(scene.family);
    endpoints.push(Endpoint { node: Some("there".into()), ..Endpoint::ready(new) });
    let gone = after.services.remove(1);
    after.slices.retain(|slice| slice.service != gone.name.name);
    [before, after]
}

/// One picture of two states.
fn draw_both(clusters: &[Cluster; 2]) -> Picture {
    let workloads = Workloads::default().with_nodes(nodes().map(Arc::new));
    let loaded = clusters.each_ref().map(|cluster| {
        let (compiler, state) = cluster.load(&Ruleset::default(), 0);
        (Rules::default(), Host { local_addresses: cluster.host.clone() }, compiler, state)
    });
    let [before, after] = loaded.each_ref().map(|(rules, host, compiler, state)| View {
        state,
        compiler,
        rules,
        host,
        workloads: &workloads,
    });
    let differences = compare(&explained(&before.services()), &explained(&after.services()));
    let state = |view, origin| State { view, origin };
    overlay(state(before, "from old.yaml"), state(after, "from new.yaml"), &differences)
}

#[test]
fn two_states_are_one_picture_with_marks_on_what_differs() {
    in_both_families(|scene| {
        if scene.family == Family::Ip6 {
            return;
        }
        let clusters = changed(&shop(scene));
        let drawn = draw_both(&clusters);
        let without_style = |text: &str| text.replace(PAGE_STYLE, "…").replace(STYLE, "…");
        for (name, text) in notations(&drawn) {
            well_formed(name, &text).unwrap();
            insta::assert_snapshot!(format!("overlay_as_{name}"), without_style(&text));
        }
        let same = draw_both(&[clusters[0].clone(), clusters[0].clone()]);
        assert!(text(&same).starts_with("No Service differs.\n"), "{}", text(&same));
    });
}

/// Pictures of any two clusters; many Services differ, or few.
#[test]
fn any_two_clusters_give_a_well_formed_picture_of_both() {
    let mut config =
        Config { failure_persistence: None, rng_algorithm: RngAlgorithm::XorShift, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 100;
    }
    let outcome = TestRunner::new(config).run(&(cluster(), cluster()), |(before, mut after)| {
        after.config = before.config.clone();
        let mut many = after.clone();
        for n in 0..8 {
            let mut service = many.services[0].clone();
            service.name = ObjectName::new("many", format!("service-{n}"));
            many.services.push(service);
        }
        for after in [after, many] {
            let drawn = draw_both(&[before.clone(), after]);
            for (name, text) in notations(&drawn) {
                well_formed(name, &text).map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn what_is_too_much_is_folded_into_a_number() {
    in_both_families(|mut scene| {
        scene = scene.service(1, "L1");
        let slice = &mut scene.cluster.slices[0];
        let model = slice.endpoints[0].clone();
        slice.endpoints = (0..2000_u32)
            .map(|n| {
                let mut endpoint = model.clone();
                endpoint.address = match scene.family {
                    Family::Ip => std::net::Ipv4Addr::from(0x0a01_0000 + n).into(),
                    Family::Ip6 => std::net::Ipv6Addr::from((0xfd00_u128 << 112) + u128::from(n)).into(),
                };
                endpoint.node = Some(format!("node-{:03}", n % 100).into());
                endpoint.ready = n % 10 != 0;
                endpoint
            })
            .collect();
        let [whole, _] = draw(&scene.cluster, &[]);
        let drawn = text(&whole);
        assert!(drawn.lines().count() < 100, "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(drawn.contains("more"), "{drawn}");
        // The endpoints that are shown and those that are folded add up to all.
        let Subject::Services(panels) = &whole.subject else { panic!("one Service is drawn whole") };
        let port = &panels[0].ports[0];
        let of_nodes: usize = port.nodes.iter().map(|node| node.pods.len() + node.more.endpoints).sum();
        assert_eq!(of_nodes + port.more.endpoints, 2000);
        let used: usize = port
            .nodes
            .iter()
            .map(|node| node.more.used + node.pods.iter().filter(|pod| pod.is_used()).count())
            .sum();
        assert_eq!(used + port.more.used, 1800);
        for (name, text) in notations(&whole) {
            assert!(text.len() < 100_000, "{name}: {} bytes", text.len());
        }

        // Many Services.
        for n in 0..1000 {
            let mut service = scene.cluster.services[0].clone();
            service.name = ObjectName::new("many", format!("service-{n}"));
            scene.cluster.services.push(service);
        }
        let [whole, overview] = draw(&scene.cluster, &[]);
        assert_eq!(whole, overview);
        let Subject::Overview { rows, more, .. } = &whole.subject else { panic!("many Services are folded") };
        assert_eq!(rows.len() + more, 1001);
        for (name, text) in notations(&whole) {
            assert!(text.len() < 500_000, "{name}: {} bytes", text.len());
        }
    });
}

#[test]
fn any_cluster_gives_well_formed_pictures_and_the_same_bytes_in_any_order() {
    let mut config =
        Config { failure_persistence: None, rng_algorithm: RngAlgorithm::XorShift, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 300;
    }
    let outcome = TestRunner::new(config).run(&cluster(), |mut cluster| {
        // One Service per name: which of several counts depends on the order.
        let mut names = Vec::new();
        cluster.services.retain(|service| {
            let is_new = !names.contains(&service.name);
            names.push(service.name.clone());
            is_new
        });
        let mut slices = Vec::new();
        cluster.slices.retain(|slice| {
            let is_new = !slices.contains(&slice.name);
            slices.push(slice.name.clone());
            is_new
        });
        let odd = |name: &Arc<str>| -> Arc<str> { format!("{name}{ODD}").into() };
        for service in &mut cluster.services {
            service.name.name = odd(&service.name.name);
            for port in &mut service.ports {
                port.name = odd(&port.name);
            }
        }
        for slice in &mut cluster.slices {
            slice.service = odd(&slice.service);
            for port in &mut slice.ports {
                port.name = odd(&port.name);
            }
            for endpoint in &mut slice.endpoints {
                endpoint.node = endpoint.node.as_ref().map(odd);
            }
        }
        let mut reordered = cluster.clone();
        reordered.services.reverse();
        let drawn = draw(&cluster, &nodes());
        let again = draw(&reordered, &nodes());
        for (first, second) in drawn.iter().zip(&again) {
            for ((name, text), (_, other)) in notations(first).iter().zip(notations(second)) {
                well_formed(name, text).map_err(TestCaseError::fail)?;
                if *text != other {
                    return Err(TestCaseError::fail(format!(
                        "{name} depends on the order:\n{text}\n{other}"
                    )));
                }
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Whether a notation holds nothing that came from a name unescaped.
fn well_formed(name: &str, text: &str) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{name}: {why}:\n{text}"));
    if text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}') {
        return fail("a control character");
    }
    match name {
        "svg" => match roxmltree::Document::parse(text) {
            Err(error) => return fail(&error.to_string()),
            Ok(document) if document.descendants().any(|node| node.has_tag_name("b")) => {
                return fail("an element from a name");
            }
            Ok(_) => {}
        },
        "html" if text.contains("<b a=") || text.contains("<script") => {
            return fail("an element from a name");
        }
        "mermaid" if text.contains("<b a=") || text.contains('`') || text.contains('\\') => {
            return fail("a letter with a meaning");
        }
        "dot" => {
            // Every quote is a delimiter or escaped: outside of strings, no part of a name is left.
            let mut is_inside = false;
            let mut outside = String::new();
            let mut letters = text.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '\\' if is_inside => _ = letters.next(),
                    '"' => is_inside = !is_inside,
                    letter if !is_inside => outside.push(letter),
                    _ => {}
                }
            }
            if is_inside || outside.contains("<b") {
                return fail("a string does not end where it should");
            }
        }
        "text" if text.lines().any(|line| line.chars().count() > 80) => return fail("a line too long"),
        _ => {}
    }
    Ok(())
}
