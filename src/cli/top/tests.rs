//! What the view shows, as text, and what keys do.

use std::sync::Arc;

use portolan_rules::model::ObjectName;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::{Value, json};

use super::{
    arguments::Sort,
    frame::draw,
    model::{Action, Look, Model},
};
use crate::{
    cli::get::rows::{Cause, EndpointRow, FindingRow, PortRow, Ratio, ServiceRow, State, unusable},
    observe::counts::{Counted, Total, Totals},
};

/// A Service with these endpoints, each with its share, or why it has none.
fn service(name: &str, state: State, endpoints: &[(&str, Result<f64, &'static str>)]) -> ServiceRow {
    let row = |(address, share): &(&str, Result<f64, &'static str>)| EndpointRow {
        address: (*address).to_owned(),
        node: Some("node-b".to_owned()),
        pod: None,
        weight: 1,
        share: share.ok(),
        left_out: share.err().map(|code| Cause { code, message: "a message".to_owned() }),
        connections: None,
    };
    let used = endpoints.iter().filter(|(_, share)| share.is_ok()).count();
    let problem = FindingRow {
        severity: "error",
        code: "no-endpoint",
        subject: String::new(),
        message: "no endpoint on this node".to_owned(),
    };
    ServiceRow {
        cluster_ips: vec!["10.96.0.1".to_owned()],
        state,
        message: (used == 0).then(|| problem.message.clone()),
        endpoints: Ratio { used, all: endpoints.len() },
        ports: vec![PortRow {
            name: "http".to_owned(),
            protocol: "TCP",
            port: 80,
            node_port: None,
            family: "ip".to_owned(),
            connections: None,
            frontends: Vec::new(),
            endpoints: endpoints.iter().map(row).collect(),
        }],
        problems: (used == 0).then_some(problem).into_iter().collect(),
        ..unusable(&ObjectName::new("shop", name), "")
    }
}

fn services() -> Arc<[ServiceRow]> {
    Arc::new([
        service("db", State::Programmed, &[]),
        service("queue", State::Waiting, &[("10.128.1.9:5672", Ok(1.0))]),
        web(),
    ])
}

fn web() -> ServiceRow {
    let endpoints =
        [("10.128.2.4:8080", Ok(0.75)), ("10.128.2.5:8080", Ok(0.25)), ("10.128.2.6:8080", Err("not-ready"))];
    service("web", State::Programmed, &endpoints)
}

/// A reading of the counters, `age` seconds ago: refused connections to `db`, and connections to the endpoints of
/// `web`.
fn totals(reading: u64, age: u32, refused: u64, web: [u64; 2]) -> Totals {
    let total = |owner: &str, endpoint: &str, connections| Total {
        owner: owner.to_owned(),
        endpoint: endpoint.parse().ok(),
        connections,
    };
    let totals = vec![
        total("shop/db:http", "", refused),
        total("shop/web:http", "10.128.2.4:8080", web[0]),
        total("shop/web:http", "10.128.2.5:8080", web[1]),
    ];
    Counted { reading, age_seconds: age.into(), problem: None, totals }.into()
}

fn commits() -> Vec<Value> {
    let commit = |at: &str, succeeded: bool, operations: usize, changes: usize| {
        json!({
            "at": format!("2026-11-30T{at}.123456Z"), "cause": "change", "succeeded": succeeded, "seconds": 0.000_42,
            "operations": operations, "changes": changes, "objects": ["EndpointSlice shop/web-x2k"],
        })
    };
    vec![commit("12:00:07", true, 1, 1), commit("12:00:03", false, 12, 3)]
}

fn look(totals: Option<Totals>) -> Look {
    Look {
        node: "node-a".to_owned(),
        freshness: "in sync since 3 s".to_owned(),
        services: services(),
        opened: None,
        problem: totals.is_none().then(|| "Connections are not counted: why".to_owned()),
        totals,
        commits: commits(),
    }
}

/// A view after two readings that are ten seconds apart.
fn model() -> Model {
    let mut model = Model::new(Sort::Rate, None);
    model.take(look(Some(totals(1, 10, 5, [100, 100]))));
    model.take(look(Some(totals(2, 0, 26, [160, 114]))));
    model
}

fn press(model: &mut Model, codes: impl IntoIterator<Item = KeyCode>) -> Action {
    codes
        .into_iter()
        .map(|code| model.press(KeyEvent::new(code, KeyModifiers::NONE)))
        .last()
        .unwrap_or(Action::None)
}

/// The screen as text.
fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn services_are_shown_by_new_connections_a_second() {
    insta::assert_snapshot!(screen(&model(), 80, 24));
}

#[test]
fn a_service_shows_shares_wanted_and_seen() {
    let mut model = model();
    assert_eq!(press(&mut model, [KeyCode::Enter]), Action::Open(Some(ObjectName::new("shop", "web"))));
    let open = |totals| Look { opened: Some(web()), ..look(Some(totals)) };
    model.take(open(totals(3, 0, 26, [160, 114])));
    assert!(!screen(&model, 80, 24).contains("%     -  "), "nothing was seen yet");
    // Connections from before the Service was opened do not count as seen.
    let then = totals(4, 0, 26, [190, 124]);
    model.take(open(then));
    let text = screen(&model, 80, 24);
    for part in ["75.0%   75.0%", "25.0%   25.0%", "190 used", "124 used", "not-ready", "http 80/TCP (ip)"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(screen(&model, 120, 24).contains("node-b"));
    assert_eq!(press(&mut model, [KeyCode::Esc]), Action::Open(None));
    assert!(screen(&model, 80, 24).contains("SERVICE"));
}

#[test]
fn shares_are_seen_anew_when_endpoints_change() {
    let mut model = model();
    press(&mut model, [KeyCode::Enter]);
    let open = |row: ServiceRow, totals| Look { opened: Some(row), ..look(Some(totals)) };
    model.take(open(web(), totals(3, 3, 0, [100, 100])));
    model.take(open(web(), totals(4, 2, 0, [110, 100])));
    assert!(screen(&model, 80, 24).contains("100.0%"));
    let other =
        || service("web", State::Programmed, &[("10.128.2.4:8080", Ok(0.5)), ("10.128.2.5:8080", Ok(0.5))]);
    model.take(open(other(), totals(5, 1, 0, [110, 100])));
    assert!(!screen(&model, 80, 24).contains("100.0%"));
    model.take(open(other(), totals(6, 0, 0, [112, 102])));
    assert_eq!(screen(&model, 80, 24).matches("50.0%   50.0%").count(), 2, "{}", screen(&model, 80, 24));
}

#[test]
fn without_counters_it_says_so() {
    let mut model = Model::new(Sort::Rate, None);
    model.take(look(None));
    insta::assert_snapshot!(screen(&model, 80, 16));
    model.lose("/run/portolan/portolan.sock: no agent listens there".to_owned());
    assert!(screen(&model, 80, 24).contains("no agent listens there"));
    model.take(look(None));
    assert!(screen(&model, 80, 24).contains("Portolan on node-a"));
}

#[test]
fn keys_sort_filter_select_and_quit() {
    let mut model = model();
    let order = |model: &Model| model.lines.iter().map(|line| line.name.name.to_string()).collect::<Vec<_>>();
    assert_eq!(order(&model), ["web", "db", "queue"], "by new connections a second, then by name");
    press(&mut model, [KeyCode::Char('s'), KeyCode::Char('s')]);
    assert_eq!((model.sort, order(&model)), (Sort::Refused, vec!["db".into(), "queue".into(), "web".into()]));
    press(&mut model, [KeyCode::Char('s')]);
    assert_eq!(order(&model), ["db", "queue", "web"], "the fewest endpoints first");
    press(&mut model, [KeyCode::Char('r'), KeyCode::End]);
    assert_eq!((order(&model), model.selected()), (vec!["web".into(), "queue".into(), "db".into()], 2));
    // The selection stays with its Service.
    press(&mut model, [KeyCode::Char('r')]);
    assert_eq!(model.selected(), 0);
    press(&mut model, [KeyCode::PageDown, KeyCode::Up, KeyCode::Char('j'), KeyCode::Down]);
    assert_eq!(model.selected(), 2);

    press(&mut model, [KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char('u'), KeyCode::Char('x')]);
    assert!(order(&model).is_empty() && model.is_typing && !model.is_over());
    assert!(screen(&model, 80, 24).contains("No Service has qux in its name."));
    press(&mut model, [KeyCode::Backspace, KeyCode::Enter]);
    assert_eq!(order(&model), ["queue"]);
    let text = screen(&model, 80, 24);
    assert!(text.contains("1 Service, 0 new"), "the rates are of the Services that are shown: {text}");
    press(&mut model, [KeyCode::Esc]);
    assert_eq!(order(&model).len(), 3);
    press(&mut model, [KeyCode::Char('q')]);
    assert!(model.is_over());
    let mut model = self::model();
    press(&mut model, [KeyCode::Char('/')]);
    model.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(model.is_over(), "whatever is typed");
}

/// Odd sizes and odd names are drawn as well.
#[test]
fn every_size_is_drawn() {
    let mut model = model();
    let odd = ServiceRow {
        namespace: "é\u{1b}[31m".repeat(40),
        ..service(&"字".repeat(80), State::Quarantined, &[])
    };
    let rows: Vec<ServiceRow> = services().iter().cloned().chain([odd]).collect();
    model.take(Look { services: rows.into(), ..look(None) });
    for opened in [false, true] {
        if opened {
            press(&mut model, [KeyCode::Enter]);
            model.take(Look { opened: Some(web()), ..look(None) });
        }
        for (width, height) in [(1, 1), (2, 40), (10, 3), (79, 7), (80, 10), (500, 200)] {
            let text = screen(&model, width, height);
            assert!(!text.contains('\u{1b}'), "{text:?}");
        }
        press(&mut model, [KeyCode::End, KeyCode::Home, KeyCode::PageDown]);
    }
}

#[test]
fn of_ten_thousand_services_the_selected_one_is_shown() {
    let mut model = Model::new(Sort::Name, None);
    let rows: Vec<_> = (0..10_000).map(|n| service(&format!("s-{n:05}"), State::Programmed, &[])).collect();
    model.take(Look { services: rows.into(), ..look(None) });
    for (key, name) in [(KeyCode::End, "s-09999"), (KeyCode::PageUp, "s-09989"), (KeyCode::Home, "s-00000")] {
        press(&mut model, [key]);
        assert!(screen(&model, 80, 24).contains(name), "{name}");
    }
}
