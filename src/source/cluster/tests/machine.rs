//! What is done next: by hand where it is known, and through random sequences of outcomes.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use crate::source::cluster::{
    action::{Action, Effect, Freshness, ListMode, Outcome},
    error::{Reason, RequestError},
    machine::{Machine, Now},
    timing::Timing,
};

/// Longest time from good answers to what is known being what there is: the longest wait, two silences of a watch and
/// a list.
const CONVERGED: Duration = Duration::from_mins(3);

/// A machine, its clock, and what it has done so far.
struct Run {
    machine: Machine,
    now: Now,
    action: Action,
    effect: Effect,
}

impl Run {
    fn new(is_optional: bool, random: f64) -> Self {
        let now = Now { at: Instant::now(), random };
        let (machine, action) = Machine::start(Timing::default(), is_optional, now);
        Self { machine, now, action, effect: Effect::Keep }
    }

    fn step(&mut self, outcome: Outcome) -> &Action {
        let (machine, effect, action) = self.machine.clone().next(outcome, self.now);
        (self.machine, self.effect, self.action) = (machine, effect, action);
        &self.action
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
    }

    /// Waits, or is silent, to the end.
    fn elapse(&mut self) -> &Action {
        match self.action.clone() {
            Action::Wait { until } => {
                self.now.at = until;
                self.step(Outcome::Elapsed)
            }
            Action::Read { until } => {
                self.now.at = until;
                self.step(Outcome::Silent)
            }
            action => panic!("{action:?}"),
        }
    }

    fn wait(&self) -> Option<Duration> {
        if let Action::Wait { until } = self.action { Some(until - self.now.at) } else { None }
    }

    /// Listed, and watching from this version on.
    fn listed(version: u64) -> Self {
        let mut run = Self::new(false, 0.5);
        run.step(listed(version));
        assert_eq!(run.effect, Effect::Replace);
        run
    }
}

fn listed(version: u64) -> Outcome {
    Outcome::Listed { version: version.to_string().into(), is_emptied: false }
}

fn heard(version: u64) -> Outcome {
    Outcome::Received(Some(version.to_string().into()))
}

fn failed(reason: Reason) -> Outcome {
    Outcome::Failed(RequestError::new(reason, "failed"))
}

fn gateway() -> Reason {
    Reason::Gateway { code: 504 }
}

fn refused() -> Reason {
    Reason::Refused { field: Some("sendInitialEvents".into()) }
}

fn list(action: &Action) -> Option<(ListMode, &Freshness)> {
    if let Action::List { mode, freshness, .. } = action { Some((*mode, freshness)) } else { None }
}

#[test]
fn a_gateways_answer_costs_neither_the_position_nor_a_request_without_a_wait() {
    let mut run = Run::listed(1000);
    run.pass(Duration::from_mins(1));
    run.step(failed(Reason::Unreachable));
    let mut requests = 0;
    let began = run.now.at;
    while run.now.at - began < Duration::from_mins(1) {
        let action = run.elapse();
        assert!(matches!(action, Action::Watch { version, .. } if &**version == "1000"), "{action:?}");
        requests += 1;
        run.step(failed(gateway()));
        assert!(run.wait() >= Some(Duration::from_millis(400)));
    }
    assert!(requests < 10, "{requests} in a minute");
    run.elapse();
    assert!(matches!(run.step(Outcome::Opened), Action::Read { .. }), "nothing was missed");
}

#[test]
fn a_forgotten_version_leads_to_a_list_at_once_but_not_again_and_again() {
    let mut run = Run::listed(1000);
    let mut immediate = 0;
    while list(run.step(failed(Reason::Expired)))
        .is_some_and(|(_, from)| *from == Freshness::NotOlder("1000".into()))
    {
        run.step(listed(1000));
        immediate += 1;
    }
    assert_eq!(immediate, 3);
    assert!(run.wait() >= Some(Duration::from_millis(400)));
}

#[test]
fn a_version_that_the_server_has_not_reached_is_dropped() {
    let mut run = Run::listed(1000);
    run.step(failed(Reason::Expired));
    assert_eq!(
        list(run.step(failed(Reason::VersionTooLarge))),
        Some((ListMode::Streaming, &Freshness::Newest))
    );
    // Older than what was known: it is believed.
    run.step(listed(5));
    assert_eq!((run.effect, run.machine.known()), (Effect::Replace, Some("5")));
    run.step(heard(6));
    assert_eq!((run.effect, run.machine.known()), (Effect::Apply, Some("6")));
}

#[test]
fn watches_that_are_silent_twice_in_a_row_lead_to_a_list() {
    let mut run = Run::listed(1000);
    run.pass(Duration::from_secs(30));
    run.step(failed(Reason::Unreachable));
    let restored = run.now.at;
    run.elapse();
    let mut watches = 1;
    while list(&run.action).is_none() {
        watches += usize::from(matches!(run.action, Action::Watch { .. }));
        match run.action {
            Action::Watch { .. } => _ = run.step(Outcome::Opened),
            _ => _ = run.elapse(),
        }
    }
    assert_eq!(watches, 3, "one is counted twice");
    assert_eq!(list(&run.action), Some((ListMode::Streaming, &Freshness::Newest)));
    assert!(run.now.at - restored < CONVERGED, "{:?}", run.now.at - restored);
}

/// As behind a load balancer that lets no connection be idle for long.
#[test]
fn silence_counts_however_often_the_connection_ends() {
    let mut run = Run::listed(1000);
    let began = run.now.at;
    while list(&run.action).is_none() {
        match run.action {
            Action::Watch { .. } => _ = run.step(Outcome::Opened),
            Action::Wait { .. } => _ = run.elapse(),
            _ => {
                run.pass(Duration::from_secs(20));
                run.step(failed(Reason::Unreachable));
            }
        }
    }
    assert!(run.now.at - began < CONVERGED, "{:?}", run.now.at - began);
}

/// A server without bookmarks, where nothing changes: everything is listed less and less often.
#[test]
fn silence_that_means_nothing_leads_to_ever_fewer_lists() {
    let mut run = Run::listed(1000);
    let began = run.now.at;
    let mut lists = 0;
    while run.now.at - began < Duration::from_hours(2) {
        match run.action {
            Action::Watch { .. } => _ = run.step(Outcome::Opened),
            Action::List { .. } => {
                lists += 1;
                run.step(listed(1000));
            }
            _ => _ = run.elapse(),
        }
    }
    assert!((3..8).contains(&lists), "{lists} lists in two hours");
}

#[test]
fn what_comes_out_of_order_leads_to_a_list_and_changes_nothing() {
    let mut run = Run::listed(1000);
    run.step(heard(1010));
    run.step(heard(1010));
    assert_eq!(run.effect, Effect::Apply, "twice the same is in order");
    let action = run.step(heard(1009)).clone();
    assert_eq!((run.effect, list(&action)), (Effect::Keep, Some((ListMode::Streaming, &Freshness::Newest))));
}

#[test]
fn streaming_lists_are_given_up_for_an_hour_after_a_refusal_and_once_after_silence() {
    // Lists, watches for 20 minutes, and lists again: mode.
    let later = |run: &mut Run| {
        if let Action::Watch { .. } = run.step(listed(1000)) {
            run.step(Outcome::Opened);
        }
        run.step(heard(1000));
        run.pass(Duration::from_mins(20));
        list(run.step(failed(Reason::Expired))).unwrap().0
    };
    for reason in [Reason::Silent, Reason::Malformed, Reason::Ended] {
        let mut run = Run::new(false, 0.5);
        assert_eq!(list(run.step(failed(reason))), Some((ListMode::Paged, &Freshness::Any)));
        assert_eq!(later(&mut run), ListMode::Streaming);
    }
    let mut run = Run::new(false, 0.5);
    let mode = list(run.step(failed(refused()))).unwrap().0;
    let seen = [mode, later(&mut run), later(&mut run), later(&mut run), later(&mut run)];
    assert_eq!(
        seen,
        [ListMode::Paged, ListMode::Paged, ListMode::Paged, ListMode::Streaming, ListMode::Streaming]
    );
}

#[test]
fn an_empty_list_after_objects_counts_only_the_second_time() {
    let empty = || Outcome::Listed { version: "1001".into(), is_emptied: true };
    let mut run = Run::listed(1000);
    run.step(failed(Reason::Expired));
    run.step(empty());
    assert_eq!((run.effect, run.wait().is_some()), (Effect::Keep, true));
    run.elapse();
    run.step(empty());
    assert_eq!(run.effect, Effect::Replace);
    // The next time, too.
    run.step(failed(Reason::Expired));
    run.step(empty());
    assert_eq!(run.effect, Effect::Keep);
}

#[test]
fn a_server_that_comes_back_is_not_waited_for() {
    let mut run = Run::listed(1000);
    run.pass(Duration::from_mins(1));
    run.step(failed(Reason::Unreachable));
    let began = run.now.at;
    while run.now.at - began < Duration::from_secs(15) {
        run.elapse();
        run.step(failed(Reason::Unreachable));
        assert!(run.wait() <= Some(Duration::from_secs(2)), "a restart takes no longer: {:?}", run.wait());
    }
    while run.now.at - began < Duration::from_mins(5) {
        run.elapse();
        run.step(failed(Reason::Unreachable));
    }
    assert!(run.wait() >= Some(Duration::from_secs(15)), "{:?}", run.wait());
    // It answers, though not yet as it will.
    for reason in [gateway(), Reason::Unavailable { code: 503 }, Reason::Forbidden] {
        run.elapse();
        run.step(failed(reason.clone()));
        assert!(run.wait() <= Some(Duration::from_millis(800)), "{reason:?}: {:?}", run.wait());
    }
    let wait = run.wait();
    run.step(Outcome::Woken);
    assert!(run.wait() < wait, "another kind was answered");
    // It does not help to go down again.
    for reason in [Reason::Unreachable, Reason::Forbidden, Reason::Unreachable, Reason::Forbidden] {
        run.elapse();
        run.step(failed(reason));
    }
    assert!(run.wait() > Some(Duration::from_secs(3)), "{:?}", run.wait());
}

#[test]
fn the_wait_that_the_server_asks_for_is_kept_whole() {
    let asked = |seconds| {
        let mut error = RequestError::new(Reason::Unavailable { code: 429 }, "it is busy");
        error.retry_after = Some(Duration::from_secs(seconds));
        Outcome::Failed(error)
    };
    let mut run = Run::listed(1000);
    run.step(asked(300));
    let wait = run.wait();
    assert!(wait >= Some(Duration::from_mins(5)), "{wait:?}");
    run.step(Outcome::Woken);
    assert_eq!(run.wait(), wait);
    // A mistake is no reason to panic, or to wait for ever.
    run.elapse();
    run.step(asked(u64::MAX));
    assert!(run.wait() < Some(Duration::from_hours(25)));
}

#[test]
fn what_is_not_needed_is_done_without() {
    let mut run = Run::new(true, 0.5);
    run.step(failed(Reason::NotFound));
    assert_eq!(run.effect, Effect::Clear);
    assert!(run.wait() >= Some(Duration::from_mins(2)));
    run.step(Outcome::Woken);
    assert!(run.wait() <= Some(Duration::from_secs(1)), "permissions may have come with another kind's");
    run.elapse();
    run.step(failed(Reason::Forbidden));
    assert_eq!(run.effect, Effect::Keep, "once");
    run.elapse();
    run.step(listed(7));
    assert_eq!(run.effect, Effect::Replace);
}

fn reasons() -> impl Strategy<Value = Reason> {
    prop_oneof![
        Just(Reason::Unreachable),
        Just(Reason::Silent),
        (400..600_u16).prop_map(|code| Reason::Gateway { code }),
        Just(Reason::Expired),
        Just(Reason::VersionTooLarge),
        Just(Reason::Unauthorized),
        Just(Reason::Forbidden),
        Just(Reason::NotFound),
        Just(refused()),
        Just(Reason::Unavailable { code: 503 }),
        Just(Reason::Malformed),
        Just(Reason::Ended),
    ]
}

/// What may happen, whatever is done.
#[derive(Clone, Debug)]
enum Happening {
    Fails(Reason, Option<u64>),
    Lists(u64, bool),
    Hears(Option<u64>),
    Ends,
    Wakes,
    /// What was waited for comes to its end, or a watch is opened.
    Goes,
    Passes(u64),
}

fn happenings() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (reasons(), proptest::option::weighted(0.1, 0..20_u64)).prop_map(|(reason, asked)| Happening::Fails(reason, asked)),
        2 => (1..2000_u64, any::<bool>()).prop_map(|(version, emptied)| Happening::Lists(version, emptied)),
        2 => proptest::option::of(1..2000_u64).prop_map(Happening::Hears),
        1 => Just(Happening::Ends),
        1 => Just(Happening::Wakes),
        4 => Just(Happening::Goes),
        1 => (0..400_000_u64).prop_map(Happening::Passes),
    ]
}

/// What comes of an action when this happens; nothing if it cannot.
fn outcome(action: &Action, happening: &Happening) -> Option<Outcome> {
    match (action, happening) {
        (Action::Wait { .. }, Happening::Wakes) => Some(Outcome::Woken),
        (Action::Wait { .. }, _) => None,
        (_, Happening::Fails(reason, asked)) => {
            let mut error = RequestError::new(reason.clone(), "failed");
            error.retry_after = asked.map(Duration::from_secs);
            Some(Outcome::Failed(error))
        }
        (Action::List { .. }, Happening::Lists(version, is_emptied)) => {
            Some(Outcome::Listed { version: version.to_string().into(), is_emptied: *is_emptied })
        }
        (Action::Watch { .. }, Happening::Goes) => Some(Outcome::Opened),
        (Action::Read { .. }, Happening::Hears(version)) => {
            Some(Outcome::Received(version.map(|version| version.to_string().into())))
        }
        (Action::Read { .. }, Happening::Ends) => Some(Outcome::Ended),
        _ => None,
    }
}

/// The server is away, as when it is restarted with other data.
fn outage(run: &mut Run) {
    for _ in 0..2 {
        if run.wait().is_some() {
            run.elapse();
        }
        run.step(failed(Reason::Unreachable));
    }
}

/// What a good server answers that is at this version: it knows the last hundred, and is silent on later ones.
fn answer(run: &mut Run, version: u64) -> Outcome {
    let number = |text: &str| text.parse::<u64>().unwrap();
    match run.action.clone() {
        Action::List { freshness: Freshness::NotOlder(known), .. } if number(&known) > version => {
            failed(Reason::VersionTooLarge)
        }
        Action::List { .. } => listed(version),
        Action::Watch { version: from, .. } if number(&from) + 100 < version => failed(Reason::Expired),
        Action::Watch { .. } => Outcome::Opened,
        Action::Wait { until } => {
            run.now.at = until;
            Outcome::Elapsed
        }
        Action::Read { until } => {
            if number(run.machine.known().expect("it reads a watch")) < version {
                return heard(version);
            }
            run.now.at = until;
            Outcome::Silent
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_lost_no_server_is_pressed_and_all_ends_well(
        happenings in prop::collection::vec(happenings(), 0..60),
        is_optional in any::<bool>(),
        random in 0.0..1.0,
    ) {
        let mut run = Run::new(is_optional, random);
        let (mut pressed, mut emptied, mut without) = (0, false, false);
        for happening in &happenings {
            if let Happening::Passes(time) = happening {
                run.pass(Duration::from_millis(*time));
                continue;
            }
            let is_pause = matches!(run.action, Action::Wait { .. } | Action::Read { .. });
            let known = run.machine.known().map(str::to_owned);
            match outcome(&run.action, happening) {
                Some(outcome) => _ = run.step(outcome),
                None if is_pause && matches!(happening, Happening::Goes) => {
                    pressed = 0;
                    if let Action::Wait { until } | Action::Read { until } = run.action
                        && run.now.at < until
                    {
                        run.elapse();
                    } else if matches!(run.action, Action::Wait { .. }) {
                        run.step(Outcome::Elapsed);
                    } else {
                        run.step(Outcome::Silent);
                    }
                    prop_assert_eq!(run.effect, Effect::Keep);
                    continue;
                }
                None => continue,
            }
            // What is known changes by an answer alone, and goes by a complete list alone, an empty one if it comes twice.
            let expected = match happening {
                Happening::Lists(_, is_emptied) => {
                    let is_believed = !is_emptied || emptied;
                    emptied = *is_emptied && !is_believed;
                    if is_believed { Effect::Replace } else { Effect::Keep }
                }
                Happening::Fails(Reason::Forbidden | Reason::NotFound, _) if run.effect == Effect::Clear => {
                    prop_assert!(is_optional && !without && known.is_none());
                    without = true;
                    Effect::Clear
                }
                Happening::Hears(Some(version)) => {
                    let is_late = known.as_ref().is_some_and(|known| *version < known.parse::<u64>().unwrap());
                    if is_late { Effect::Keep } else { Effect::Apply }
                }
                Happening::Hears(None) => Effect::Apply,
                _ => Effect::Keep,
            };
            prop_assert_eq!(run.effect, expected);
            if let Happening::Fails(reason, asked) = happening {
                if matches!(reason, Reason::Gateway { .. }) {
                    prop_assert!(run.wait() >= Some(Duration::from_millis(400)), "{:?}", run.action);
                    prop_assert_eq!(run.machine.known(), known.as_deref());
                }
                if let Some(asked) = asked {
                    prop_assert!(run.wait() >= Some(Duration::from_secs(*asked)), "{:?}", run.action);
                }
            }
            if run.effect == Effect::Apply || matches!(happening, Happening::Lists(..)) {
                pressed = 0;
            } else if matches!(run.action, Action::List { .. } | Action::Watch { .. }) {
                pressed += 1;
                prop_assert!(pressed <= 8, "{pressed} requests in a row without a wait");
            }
        }
        // From now on the server is good, whether its history is the one that was known, or that of a backup.
        for version in [50_000, 3, 4, 70_000] {
            outage(&mut run);
            let wait = run.wait().unwrap_or_default();
            let began = run.now.at;
            let mut steps = 0;
            loop {
                let outcome = answer(&mut run, version);
                run.step(outcome);
                steps += 1;
                let is_known = matches!(run.effect, Effect::Replace | Effect::Apply)
                    && run.machine.known() == Some(&*version.to_string());
                if is_known {
                    break;
                }
                prop_assert!(run.now.at - began <= wait + CONVERGED, "{:?}", run.machine);
                prop_assert!(steps < 100, "{:?}", run.machine);
            }
        }
    }
}
