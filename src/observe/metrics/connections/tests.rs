use portolan_rules::model::Protocol;
use prometheus::{Encoder, TextEncoder};

use super::*;

fn count(frontend: u8, slot: u32, endpoint: u8, owner: &str, connections: u64) -> Count {
    Count {
        frontend: FrontendKey::Address([10, 96, 0, frontend].into(), Protocol::Tcp, 80),
        slot,
        endpoint: Some(([10, 0, 0, endpoint], 8080).into()),
        owner: owner.into(),
        connections,
    }
}

struct World {
    register: Register,
    connections: Connections,
    now: Instant,
}

impl World {
    /// A world after a first reading, which holds the counts of an earlier run.
    fn new(counts: Vec<Count>) -> Self {
        Self::with_limits(counts, 10, 10)
    }

    fn with_limits(counts: Vec<Count>, services: usize, endpoints: usize) -> Self {
        let register = Register::default();
        let connections = Connections::with_limits(&register, services, endpoints);
        let mut world = Self { register, connections, now: Instant::now() };
        world.take(&Counts::All(counts));
        world
    }

    fn take(&mut self, counts: &Counts) {
        self.now += Duration::from_secs(10);
        self.connections.take(counts, self.now);
    }

    fn all(&mut self, counts: Vec<Count>) {
        self.take(&Counts::All(counts));
    }

    /// The samples, without the prefix of their names.
    fn samples(&self) -> Vec<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.register.registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        text.lines().filter_map(|line| line.strip_prefix("portolan_")).map(str::to_owned).collect()
    }

    fn service(&self, labels: &str) -> Option<u64> {
        self.sample(&format!("service_connections_total{{{labels}}}"))
    }

    fn endpoint(&self, last: u8) -> Option<u64> {
        let labels =
            format!(r#"endpoint="10.0.0.{last}:8080",namespace="default",port="http",service="web""#);
        self.sample(&format!("endpoint_connections_total{{{labels}}}"))
    }

    fn sample(&self, name: &str) -> Option<u64> {
        let samples = self.samples();
        samples.iter().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

const WEB: &str = r#"namespace="default",port="http",service="web""#;
const OWNER: &str = "default/web:http";

#[test]
fn frontends_of_a_port_add_up() {
    let mut world = World::new(vec![]);
    world.all(vec![count(1, 0, 1, OWNER, 3), count(1, 1, 2, OWNER, 4), count(2, 0, 1, OWNER, 5)]);
    assert_eq!(world.service(WEB), Some(12));
    assert_eq!((world.endpoint(1), world.endpoint(2)), (Some(8), Some(4)));
    assert_eq!(world.sample("endpoint_counters_readable"), Some(1));
}

#[test]
fn what_an_earlier_run_left_is_not_counted() {
    let mut world = World::new(vec![count(1, 0, 1, OWNER, 100)]);
    assert_eq!(world.service(WEB), Some(0));
    world.all(vec![count(1, 0, 1, OWNER, 101), count(1, 1, 2, OWNER, 7)]);
    assert_eq!((world.endpoint(1), world.endpoint(2)), (Some(1), Some(7)));
}

#[test]
fn totals_stay_whatever_elements_do() {
    let mut world = World::new(vec![]);
    world.all(vec![count(1, 0, 1, OWNER, 10), count(1, 1, 2, OWNER, 20)]);
    // The first endpoint goes, and the second takes its slot. Then the map is replaced. Then both endpoints are gone.
    world.all(vec![count(1, 0, 2, OWNER, 1)]);
    assert_eq!((world.service(WEB), world.endpoint(1), world.endpoint(2)), (Some(31), Some(10), Some(21)));
    world.all(vec![count(1, 0, 2, OWNER, 0)]);
    world.all(vec![]);
    world.all(vec![count(1, 0, 2, OWNER, 5)]);
    assert_eq!((world.service(WEB), world.endpoint(1), world.endpoint(2)), (Some(36), Some(10), Some(26)));
}

#[test]
fn a_reading_with_gaps_forgets_nothing() {
    let mut world = World::new(vec![]);
    world.all(vec![count(1, 0, 1, OWNER, 10), count(1, 1, 2, OWNER, 20)]);
    world.take(&Counts::Some(vec![count(1, 0, 1, OWNER, 11), count(1, 0, 1, OWNER, 11)]));
    world.all(vec![count(1, 0, 1, OWNER, 11), count(1, 1, 2, OWNER, 20)]);
    assert_eq!(world.service(WEB), Some(31));
}

#[test]
fn a_first_reading_with_gaps_is_no_start() {
    let mut world = World::new(vec![]);
    world.connections.last = None;
    world.take(&Counts::Some(vec![]));
    world.all(vec![count(1, 0, 1, OWNER, 11)]);
    world.all(vec![count(1, 0, 1, OWNER, 12)]);
    assert_eq!(world.service(WEB), Some(1));
}

#[test]
fn a_frontend_that_changes_hands_counts_for_each() {
    let mut world = World::new(vec![]);
    world.all(vec![count(1, 0, 1, OWNER, 3)]);
    world.all(vec![count(1, 0, 1, "other/a", 5)]);
    assert_eq!(world.service(WEB), Some(3));
    assert_eq!(world.service(r#"namespace="other",port="",service="a""#), Some(2));
}

#[test]
fn series_are_bounded_and_those_of_the_gone_make_room() {
    let mut world = World::with_limits(vec![], 10, 2);
    let three = || vec![1, 2, 3].into_iter().map(|i| count(1, i, i as u8, OWNER, 5)).collect::<Vec<_>>();
    world.all(three());
    assert_eq!(world.service(WEB), Some(15), "all of it, with and without series");
    assert_eq!([1, 2, 3].map(|i| world.endpoint(i)), [Some(5), Some(5), None]);
    assert_eq!(world.sample("endpoint_series_dropped"), Some(1));
    let without_first = || three().split_off(1);
    world.all(without_first());
    assert_eq!(world.endpoint(1), Some(5), "it stays for the next scrape");
    world.now += KEPT;
    world.all(without_first());
    assert_eq!([1, 2, 3].map(|i| world.endpoint(i)), [None, Some(5), Some(5)], "all since the start");
    assert_eq!(world.sample("endpoint_series_dropped"), Some(0));
    assert_eq!(world.sample("service_series_dropped"), Some(0));
}

#[test]
fn totals_have_every_endpoint_and_what_was_refused() {
    let mut world = World::with_limits(vec![], 1, 1);
    let refused =
        |connections| Count { endpoint: None, ..count(9, Count::NO_SLOT, 0, "default/db", connections) };
    world.all(vec![count(1, 0, 1, OWNER, 5), count(1, 1, 2, OWNER, 6), refused(2)]);
    world.all(vec![count(1, 0, 1, OWNER, 5), count(1, 1, 2, OWNER, 7), refused(3)]);
    let mut totals = world.connections.totals();
    totals.sort_by_key(|total| total.connections);
    let shown: Vec<_> =
        totals.iter().map(|total| (&*total.owner, total.endpoint, total.connections)).collect();
    let endpoint = |last| Some(([10, 0, 0, last], 8080).into());
    assert_eq!(
        shown,
        [("default/db", None, 3), (OWNER, endpoint(1), 5), (OWNER, endpoint(2), 7)],
        "with and without series"
    );
    let db = r#"service_refused_connections_total{namespace="default",port="",service="db"}"#;
    assert_eq!((world.sample(db), world.service(WEB)), (Some(3), Some(12)));
}

#[test]
fn too_many_are_said_to_be_too_many() {
    let mut world = World::new(vec![count(1, 0, 1, OWNER, 3)]);
    world.all(vec![count(1, 0, 1, OWNER, 4)]);
    world.take(&Counts::TooMany);
    assert_eq!(world.sample("endpoint_counters_readable"), Some(0));
    world.all(vec![count(1, 0, 1, OWNER, 9)]);
    assert_eq!((world.service(WEB), world.sample("endpoint_counters_readable")), (Some(6), Some(1)));
}
