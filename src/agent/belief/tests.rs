use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// An event, and the time when the reconciler acts, with times in milliseconds and numbers as names of sets.
fn event() -> impl Strategy<Value = (Observation, u64)> {
    let start = Instant::now();
    let at = move |ms: u64| start + Duration::from_millis(ms);
    let scope = |sets: Vec<u8>| sets.into_iter().map(|n| (Family::Ip, n.to_string().into())).collect();
    let by = |id| Generation { id, thread: 2, process: "nft".into() };
    let event = prop_oneof![
        Just(Observation::Failed),
        Just(Observation::Differs),
        prop::collection::vec(0..3_u8, 0..2).prop_map(move |sets| Observation::Unsent { sets: scope(sets) }),
        (0..40_u32, prop::collection::vec(0..3_u8, 0..3), 0..100_u64, 0..100_u64).prop_map(
            move |(id, sets, seen, wait)| Observation::Changed {
                by: by(id),
                sets: Sets::Some { named: scope(sets), miscounted: false },
                seen: at(seen),
                due: at(seen + wait)
            }
        ),
        (0..40_u32, prop::collection::vec((0..3_u8, any::<u16>()), 1..3), 0..100_u64, 0..100_u64).prop_map(
            move |(id, keys, seen, wait)| Observation::Changed {
                by: by(id),
                sets: Sets::Only(touched(keys)),
                seen: at(seen),
                due: at(seen + wait)
            }
        ),
        (prop::collection::vec(0..3_u8, 0..2), 0..100_u64, 0..100_u64).prop_map(move |(sets, seen, wait)| {
            Observation::Lost { sets: scope(sets), seen: at(seen), due: at(seen + wait) }
        }),
        any::<[bool; 2]>().prop_map(|[noticed_all, in_parts]| Observation::Period { noticed_all, in_parts }),
    ];
    (event, 0..300_u64)
}

/// Elements, each given by the number of its set and its key.
fn touched(keys: Vec<(u8, u16)>) -> Touched {
    let mut touched = Touched::default();
    for (set, key) in keys {
        let key = portolan_rules::ruleset::Concat::from_bytes(&key.to_be_bytes());
        assert!(touched.add((Family::Ip, set.to_string().into()), [key]));
    }
    touched
}

/// A kernel that other processes may have changed, in some sets or in everything.
#[derive(Clone, Debug, Default)]
struct World {
    generation: u32,
    /// What differs from what it should be, as far as that is known.
    differing: Vec<Sets>,
    /// Whether all elements are to be compared in parts.
    unchecked: bool,
    /// Whether a notification was lost since that comparison began.
    lost: bool,
}

proptest! {
    /// Everything that may differ is read in the end, and nothing is read without a reason.
    #[test]
    fn what_may_differ_is_in_doubt(
        events in prop::collection::vec((event(), prop::option::of(any::<bool>())), 0..40),
    ) {
        let start = Instant::now();
        let mut belief = Belief::Unknown;
        prop_assert_eq!(belief.action(start), Action::Read(Sets::All), "the first reading is of everything");
        let mut world = World::default();
        belief = belief.after(Observation::Compared { generation: 0, sets: Sets::All });
        let mut missed = false;
        for ((event, now), part) in events {
            let now = start + Duration::from_millis(now);
            match &event {
                Observation::Failed | Observation::Differs => world.differing.push(Sets::All),
                Observation::Changed { by, sets, .. } if by.id > world.generation => {
                    world.differing.push(sets.clone());
                }
                Observation::Unsent { sets } => {
                    world.differing.push(Sets::Some { named: sets.clone(), miscounted: false });
                }
                Observation::Lost { sets, .. } => {
                    (missed, world.lost) = (true, true);
                    world.differing.push(Sets::Some { named: sets.clone(), miscounted: true });
                }
                Observation::Period { noticed_all, in_parts } => {
                    // While something is in doubt, or a comparison in parts goes on, nothing is proved.
                    let is_proved = *noticed_all && !missed && belief.doubt().is_none() && !world.unchecked;
                    match in_parts {
                        _ if is_proved => {}
                        true => world.unchecked = true,
                        false => world.differing.push(Sets::All),
                    }
                }
                _ => {}
            }
            belief = belief.after(event);
            prop_assert_eq!(belief.checks().is_some(), world.unchecked, "{:?}", belief);
            match (belief.checks(), part) {
                (Some(Compared::Due), Some(_)) => {
                    belief = belief.after(Observation::Begun);
                    world.lost = false;
                }
                (Some(_), Some(true)) => {
                    belief = belief.after(Observation::Checked { rest: Scope::new(), now });
                    world.differing.push(Sets::Some { named: Scope::new(), miscounted: true });
                    (world.unchecked, missed) = (false, world.lost);
                }
                _ => {}
            }
            prop_assert_eq!(world.differing.is_empty(), belief.doubt().is_none(), "{:?}", belief);
            if let Action::Read(sets) = belief.action(now) {
                prop_assert!(belief.doubt().is_some(), "no reading without a doubt");
                for part in &world.differing {
                    prop_assert_eq!(sets.clone().and(part.clone()), sets.clone(), "{:?} is not read", part);
                }
                if sets == Sets::All {
                    (missed, world.unchecked) = (false, false);
                }
                world.differing.clear();
                world.generation += 10;
                belief = belief.after(Observation::Compared { generation: world.generation, sets });
                prop_assert_eq!(belief.action(now), Action::Commit);
            }
        }
        // Every doubt has a time when it is resolved, or is resolved by the next reconcile.
        if let Some(doubt) = belief.doubt() {
            let due = doubt.due.unwrap_or(start);
            prop_assert!(matches!(belief.action(due), Action::Read(_)));
        }
        // A comparison in parts ends, whatever happened meanwhile.
        if belief.checks().is_some() {
            let belief = belief.after(Observation::Begun).after(Observation::Checked { rest: Scope::new(), now: start });
            prop_assert_eq!(belief.checks(), None);
            prop_assert!(belief.doubt().is_some(), "what has no parts is read");
        }
    }

    /// Later events never put a repair off.
    #[test]
    fn further_events_do_not_put_a_repair_off(events in prop::collection::vec(event(), 1..20)) {
        let mut belief = Belief::Certain(LastReading { generation: 0, compared: Compared::All });
        let mut due: Option<Option<Instant>> = None;
        for (event, _) in events {
            belief = belief.after(event);
            let now = belief.doubt().map(|doubt| doubt.due);
            match (due, now) {
                (Some(Some(before)), Some(after)) => prop_assert!(after.is_none_or(|after| after <= before)),
                (Some(None), after) => prop_assert_eq!(after, Some(None)),
                _ => {}
            }
            due = now;
        }
    }
}

#[test]
fn only_sets_with_another_number_of_elements_are_read_after_a_loss() {
    let sets = Sets::Some { named: [(Family::Ip, "named".into())].into(), miscounted: true };
    let set = |name: &str| Set::new(name, &[]);
    assert!(!sets.contain(Family::Ip, &set("a"), Some(3), Some(3)));
    assert!(sets.contain(Family::Ip, &set("a"), Some(3), Some(4)));
    assert!(sets.contain(Family::Ip, &set("a"), None, Some(4)), "a set that is not ours");
    assert!(sets.contain(Family::Ip, &set("a"), Some(3), None), "the kernel does not count");
    assert!(sets.contain(Family::Ip, &set("named"), Some(3), Some(3)));
    assert!(!sets.contain(Family::Ip6, &set("named"), Some(3), Some(3)));
}

#[test]
fn what_was_missed_after_the_reading_stays_in_doubt() {
    let now = Instant::now();
    let certain = Belief::Certain(LastReading { generation: 3, compared: Compared::All });
    // The kernel was read at generation 7, and our commit to make it equal was 8 or 9; the other may have been missed.
    let missed = Observation::Missed(Missed { generation: 9, seen: now, due: now });
    let during = certain.after(Observation::Failed).after(missed);
    assert_eq!(during.action(now), Action::Read(Sets::All));
    let after = during.after(Observation::Compared { generation: 7, sets: Sets::All });
    let miscounted = Sets::Some { named: Scope::new(), miscounted: true };
    assert_eq!(after.action(now), Action::Read(miscounted.clone()));
    assert_eq!(after.doubt().unwrap().reading, LastReading { generation: 7, compared: Compared::No });
    // A later reading settles the doubt.
    let later = Observation::Compared { generation: 9, sets: miscounted };
    assert_eq!(after.after(later).action(now), Action::Commit);
}
