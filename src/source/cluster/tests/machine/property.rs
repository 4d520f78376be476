//! Whatever the server does, in any order: nothing is lost, no server is flooded with requests, and the known state
//! becomes that of the server.

use proptest::prelude::*;

use super::*;

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
        Just(Reason::Refused),
        Just(Reason::Unavailable { code: 503 }),
        Just(Reason::Malformed),
        Just(Reason::Ended),
    ]
}

/// An event that may happen during any action.
#[derive(Clone, Debug)]
enum Happening {
    Fails(Reason, Option<u64>),
    Lists(u64, bool),
    Hears(Option<u64>),
    Ends,
    Wakes,
    Alerts,
    Verifies(bool),
    /// A wait or a silence elapses, or a watch is opened.
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
        1 => Just(Happening::Alerts),
        2 => any::<bool>().prop_map(Happening::Verifies),
        4 => Just(Happening::Goes),
        1 => (0..400_000_u64).prop_map(Happening::Passes),
    ]
}

/// The outcome of an action when this happens; `None` if it cannot happen during the action.
fn outcome(action: &Action, happening: &Happening) -> Option<Outcome> {
    match (action, happening) {
        (_, Happening::Alerts) => Some(Outcome::Alerted),
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
        (Action::Verify { .. }, Happening::Verifies(true)) => Some(Outcome::Verified),
        (Action::Verify { .. }, Happening::Verifies(false)) => Some(Outcome::Contradicted),
        (Action::Read { .. }, Happening::Hears(version)) => {
            Some(Outcome::Received(version.map(|version| version.to_string().into())))
        }
        (Action::Read { .. }, Happening::Ends) => Some(Outcome::Ended),
        _ => None,
    }
}

/// The server is unreachable, for example because it is restarted with other data.
fn outage(run: &mut Run) {
    for _ in 0..2 {
        if run.wait().is_some() {
            run.elapse();
        }
        run.step(failed(Reason::Unreachable));
    }
}

/// The answer of a good server that is at this version: it knows the last hundred versions, and is silent about later
/// versions. If its history was replaced, the known state does not match it.
fn answer(run: &mut Run, version: u64, is_replaced: bool) -> Outcome {
    let number = |text: &str| text.parse::<u64>().unwrap();
    match run.action.clone() {
        Action::List { freshness: Freshness::NotOlder(known) } if number(&known) > version => {
            failed(Reason::VersionTooLarge)
        }
        Action::List { .. } => listed(version),
        Action::Verify { version: from } if number(&from) > version => failed(Reason::VersionTooLarge),
        Action::Verify { version: from } if number(&from) + 200 < version => failed(Reason::Expired),
        Action::Verify { .. } if is_replaced => Outcome::Contradicted,
        Action::Verify { .. } => Outcome::Verified,
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
            let is_older = |version: u64| known.as_ref().is_some_and(|known| version < known.parse().unwrap());
            // Only an answer changes the known state, and only a complete list removes it; an empty list if it comes
            // twice.
            let expected = match happening {
                Happening::Lists(version, is_emptied) if is_older(*version) && (!is_emptied || emptied) => {
                    Effect::Alert
                }
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
                Happening::Hears(Some(version)) if is_older(*version) => Effect::Alert,
                Happening::Fails(Reason::VersionTooLarge, _) if known.is_some() => Effect::Alert,
                Happening::Verifies(false) => Effect::Alert,
                Happening::Hears(_) => Effect::Apply,
                _ => Effect::Keep,
            };
            prop_assert_eq!(run.effect, expected);
            if matches!(run.effect, Effect::Alert) || matches!(happening, Happening::Alerts) {
                prop_assert_eq!(run.machine.known(), None);
            }
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
        // From now on, the server is good, whether its history is the known one or that of a backup.
        let histories = [(50_000, false), (3, true), (4, false), (70, true), (71, true), (70_000, false), (69_999, true)];
        for (version, is_replaced) in histories {
            outage(&mut run);
            let wait = run.wait().unwrap_or_default();
            let began = run.now.at;
            let mut steps = 0;
            loop {
                let outcome = answer(&mut run, version, is_replaced);
                run.step(outcome);
                steps += 1;
                let is_current = run.effect == Effect::Replace || run.effect == Effect::Apply && !is_replaced;
                let is_known = is_current
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
