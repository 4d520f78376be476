//! Tests of the next action: known cases by hand; `property` goes through random sequences of outcomes.

mod property;

use std::time::Duration;

use tokio::time::Instant;

use crate::source::cluster::{
    action::{Action, Effect, Freshness, Outcome},
    error::{Reason, RequestError},
    machine::{Machine, Now},
    timing::Timing,
};

/// Longest time from the first good answer until the known state is the server's state: the longest wait, a silence of
/// a watch and a list.
const CONVERGED: Duration = Duration::from_mins(3);

/// A machine, its clock, and its last action and effect.
struct Run {
    machine: Machine,
    now: Now,
    action: Action,
    effect: Effect,
}

impl Run {
    fn new(is_optional: bool, random: f64) -> Self {
        let now = Now { at: Instant::now(), random };
        let (machine, action) = Machine::start(Timing::default(), is_optional);
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

    /// Lets a wait or a silence elapse.
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

    /// A run that has listed, and has watched from this version on for so long that the watch counts as working.
    fn listed(version: u64) -> Self {
        let mut run = Self::new(false, 0.5);
        run.step(listed(version));
        assert_eq!(run.effect, Effect::Replace);
        run.step(Outcome::Opened);
        run.elapse();
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

fn list(action: &Action) -> Option<&Freshness> {
    if let Action::List { freshness } = action { Some(freshness) } else { None }
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
        assert!(matches!(action, Action::Verify { version } if &**version == "1000"), "{action:?}");
        requests += 1;
        run.step(failed(gateway()));
        assert!(run.wait() >= Some(Duration::from_millis(400)));
    }
    assert!(requests < 10, "{requests} in a minute");
    run.elapse();
    run.step(Outcome::Verified);
    assert!(matches!(run.step(Outcome::Opened), Action::Read { .. }), "nothing was missed");
}

#[test]
fn a_forgotten_version_leads_to_a_list_at_once_but_not_again_and_again() {
    let mut run = Run::listed(1000);
    let mut immediate = 0;
    while list(run.step(failed(Reason::Expired)))
        .is_some_and(|freshness| *freshness == Freshness::NotOlder("1000".into()))
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
    assert_eq!(list(run.step(failed(Reason::VersionTooLarge))), Some(&Freshness::Newest));
    assert_eq!(run.effect, Effect::Alert);
    // This version is older than the known version; the list is trusted.
    run.step(listed(5));
    assert_eq!((run.effect, run.machine.known()), (Effect::Replace, Some("5")));
    run.step(Outcome::Opened);
    run.step(heard(6));
    assert_eq!((run.effect, run.machine.known()), (Effect::Apply, Some("6")));
}

fn verifies(action: &Action, position: u64) -> bool {
    matches!(action, Action::Verify { version } if **version == *position.to_string())
}

/// However a watch ends, it is resumed only once the server's history is known to be the same.
#[test]
fn a_position_is_verified_after_any_trouble() {
    let troubles = [
        (Some(failed(Reason::Unreachable)), true),
        (Some(failed(Reason::Unauthorized)), true),
        (Some(failed(gateway())), true),
        (Some(Outcome::Ended), false),
        (None, false),
    ];
    for (trouble, waits) in troubles {
        let mut run = Run::listed(1000);
        run.pass(Duration::from_secs(30));
        match trouble {
            Some(outcome) => _ = run.step(outcome),
            None => _ = run.elapse(),
        }
        assert_eq!(run.wait().is_some(), waits, "{:?}", run.action);
        if waits {
            run.elapse();
        }
        assert!(verifies(&run.action, 1000), "{:?}", run.action);
        // It may take some time until the server is ready.
        for reason in [Reason::Forbidden, Reason::Unavailable { code: 503 }, Reason::Silent] {
            run.step(failed(reason));
            assert!(verifies(run.elapse(), 1000), "{:?}", run.action);
        }
        for outcome in [Outcome::Contradicted, failed(Reason::VersionTooLarge)] {
            let (_, effect, action) = run.machine.clone().next(outcome, run.now);
            assert_eq!(effect, Effect::Alert);
            assert_eq!(list(&action), Some(&Freshness::Newest));
        }
        assert!(matches!(run.step(Outcome::Verified), Action::Watch { .. }));
    }
}

#[test]
fn a_watch_that_ends_by_its_timeout_is_resumed_at_once() {
    let mut run = Run::new(false, 0.5);
    let Action::Watch { duration, .. } = *run.step(listed(1000)) else { panic!("{:?}", run.action) };
    run.step(Outcome::Opened);
    run.pass(duration.saturating_sub(Duration::from_secs(1)));
    assert!(matches!(run.step(Outcome::Ended), Action::Watch { .. }), "{:?}", run.action);
}

/// Not every server can list the state at a version, and some servers may fail when asked for it.
#[test]
fn a_position_that_cannot_be_verified_is_watched_from() {
    for reason in [Reason::Expired, Reason::Refused] {
        let mut run = Run::listed(1000);
        run.elapse();
        assert!(matches!(run.step(failed(reason)), Action::Watch { .. }), "{:?}", run.action);
    }
    let mut run = Run::listed(1000);
    let began = run.elapse().clone();
    assert!(verifies(&began, 1000));
    let mut asked = 0;
    while verifies(&run.action, 1000) {
        asked += 1;
        run.step(failed(Reason::Unavailable { code: 500 }));
        run.elapse();
    }
    assert!((4..20).contains(&asked), "{asked}");
    assert!(matches!(run.action, Action::Watch { .. }), "{:?}", run.action);
}

#[test]
fn a_position_is_verified_however_long_the_server_was_away() {
    for reason in [Reason::Unreachable, gateway()] {
        let mut run = Run::listed(1000);
        for _ in 0..100 {
            run.step(failed(reason.clone()));
            assert!(verifies(run.elapse(), 1000), "{:?}", run.action);
        }
        assert!(matches!(run.step(Outcome::Verified), Action::Watch { .. }), "{:?}", run.action);
    }
}

#[test]
fn what_another_kind_finds_makes_a_kind_list_anew_whatever_it_does() {
    let newest = Some(&Freshness::Newest);
    let mut run = Run::listed(1000);
    assert_eq!(list(run.step(Outcome::Alerted)), newest, "it watches");
    assert_eq!(run.effect, Effect::Keep, "it is not passed on");
    let mut run = Run::listed(1000);
    run.elapse();
    assert!(verifies(&run.action, 1000));
    assert_eq!(list(run.step(Outcome::Alerted)), newest, "it verifies");
    let mut run = Run::listed(1000);
    run.step(failed(Reason::Expired));
    assert_eq!(list(run.step(Outcome::Alerted)), newest, "it lists");
    let mut run = Run::listed(1000);
    run.step(failed(Reason::Unreachable));
    let wait = run.wait();
    run.step(Outcome::Alerted);
    assert_eq!(run.wait(), wait, "it waits");
    assert_eq!(list(run.elapse()), newest);
}

/// A server without bookmarks, where nothing changes.
#[test]
fn silence_that_means_nothing_costs_no_list() {
    let mut run = Run::listed(1000);
    let began = run.now.at;
    while run.now.at - began < Duration::from_hours(1) {
        match run.action {
            Action::Watch { .. } => _ = run.step(Outcome::Opened),
            Action::Verify { .. } => _ = run.step(Outcome::Verified),
            Action::List { .. } => panic!("{:?}", run.machine),
            _ => _ = run.elapse(),
        }
    }
}

#[test]
fn what_comes_out_of_order_leads_to_a_list_and_changes_nothing() {
    let mut run = Run::listed(1000);
    run.step(heard(1010));
    run.step(heard(1010));
    assert_eq!(run.effect, Effect::Apply, "twice the same is in order");
    let action = run.step(heard(1009)).clone();
    assert_eq!((run.effect, list(&action)), (Effect::Alert, Some(&Freshness::Newest)));
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
    // The same applies the next time.
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
    // The server answers, but is not ready yet.
    for reason in [gateway(), Reason::Unavailable { code: 503 }, Reason::Forbidden] {
        run.elapse();
        run.step(failed(reason.clone()));
        assert!(run.wait() <= Some(Duration::from_millis(800)), "{reason:?}: {:?}", run.wait());
    }
    let wait = run.wait();
    run.step(Outcome::Woken);
    assert!(run.wait() < wait, "another kind was answered");
    // A server that goes down again does not shorten the waits.
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
    // A mistake of the server must not cause a panic or an endless wait.
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
