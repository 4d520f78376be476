//! What is read and committed when the kernel is in doubt.

use portolan_rules::{
    plane::SetName,
    ruleset::{Concat, Elements, Family, Name},
};

use super::World;
use crate::{
    agent::{ForeignChange, Touched},
    kernel::nftables::{Generation, Scope},
    observe::report::Cause,
};

fn change(world: &mut World, id_offset: i32, sets: &[SetName]) -> ForeignChange {
    let id = world.fake().generation.wrapping_add_signed(id_offset);
    ForeignChange {
        by: Some(Generation { id, thread: 2, process: "nft".into() }),
        sets: sets.iter().map(|set| (Family::Ip, set.name().into())).collect(),
        elements: None,
    }
}

#[test]
fn only_the_sets_that_others_touched_are_read_back() {
    let mut world = World::new(10);
    world.sync();
    {
        let mut fake = world.fake();
        let table = fake.ruleset.tables.get_mut(&Family::Ip).unwrap();
        let set = table.sets.get_mut(SetName::Frontends.name()).unwrap();
        let key = set.elements.keys().next().unwrap().clone();
        set.elements.remove(&key);
        fake.generation += 1;
    }
    let change = change(&mut world, 0, &[SetName::Frontends]);
    world.agent.foreign(change.clone());
    let before = world.fake().commits;
    world.sync();
    world.expect_clean();
    assert_eq!(world.fake().commits, before + 1);
    assert_eq!(world.fake().reads.last(), Some(&change.sets));
    // That reading has already seen the same change.
    let reads = world.fake().reads.len();
    world.agent.foreign(change);
    world.sync();
    assert_eq!(world.fake().reads.len(), reads);
}

/// Applies `act` to the elements of a map, and returns the change, with the keys that `act` touched.
fn touch(world: &mut World, set: SetName, act: impl FnOnce(&mut Elements) -> Vec<Concat>) -> ForeignChange {
    let mut fake = world.fake();
    let table = fake.ruleset.tables.get_mut(&Family::Ip).unwrap();
    let keys = act(&mut table.sets.get_mut(set.name()).unwrap().elements);
    fake.generation += 1;
    drop(fake);
    let mut touched = Touched::default();
    assert!(touched.add((Family::Ip, set.name().into()), keys));
    ForeignChange { elements: Some(touched), ..change(world, 0, &[set]) }
}

#[test]
fn only_the_elements_that_others_touched_are_read_back() {
    let acts: [fn(&mut Elements) -> Vec<Concat>; 3] = [
        |elements| {
            let key = elements.keys().next().unwrap().clone();
            elements.remove(&key);
            vec![key]
        },
        |elements| {
            let (key, other) =
                (elements.keys().next().unwrap().clone(), elements.values().last().unwrap().clone());
            elements.insert(key.clone(), other);
            vec![key]
        },
        |elements| {
            let mut bytes = elements.keys().next().unwrap().as_bytes().to_vec();
            *bytes.last_mut().unwrap() = 77;
            let key = Concat::from_bytes(&bytes);
            let other = elements.values().next().unwrap().clone();
            elements.insert(key.clone(), other);
            vec![key]
        },
    ];
    for set in [SetName::Frontends, SetName::Endpoints] {
        for act in acts {
            let mut world = World::new(10);
            world.sync();
            let reads = world.fake().reads.len();
            let asked = world.fake().asked;
            let change = touch(&mut world, set, act);
            world.agent.foreign(change.clone());
            world.sync();
            world.expect_clean();
            assert_eq!(world.fake().asked, asked + 1, "one element is read");
            // That reading has already seen the change.
            world.agent.foreign(change);
            world.sync();
            assert_eq!(world.fake().asked, asked + 1);
            assert_eq!(world.fake().reads.len(), reads, "no set is");
        }
    }
}

#[test]
fn an_element_that_was_retiring_when_others_deleted_it_is_there_when_it_is_wanted_again() {
    let mut world = World::new(10);
    world.endpoints(3, 2);
    world.sync();
    world.endpoints(3, 1);
    world.sync();
    let keys = world.agent.compiler.held_keys();
    let retiring: Vec<Concat> = {
        let compiler = &world.agent.compiler;
        let set = compiler.declaration(Family::Ip, SetName::Endpoints);
        let keys = keys[(Family::Ip, SetName::Endpoints)].iter();
        keys.filter(|key| compiler.is_retiring(Family::Ip, set, key)).cloned().collect()
    };
    assert_eq!(retiring.len(), 1);
    let change = touch(&mut world, SetName::Endpoints, |elements| {
        elements.remove(&retiring[0]);
        retiring
    });
    world.agent.foreign(change);
    world.sync();
    world.endpoints(3, 2);
    world.sync();
    world.expect_clean();
}

#[test]
fn a_repair_that_the_kernel_refuses_becomes_a_comparison_of_everything() {
    let mut world = World::new(10);
    world.sync();
    let change = touch(&mut world, SetName::Frontends, |elements| {
        let keys: Vec<Concat> = elements.keys().take(2).cloned().collect();
        for key in &keys {
            elements.remove(key);
        }
        keys
    });
    world.poison([0]);
    world.agent.foreign(change);
    world.sync();
    world.expect_all_but(10, &[0]);
    world.expect_clean();
}

#[test]
fn a_change_that_comes_with_a_repair_of_other_sets_is_not_lost() {
    let mut world = World::new(10);
    world.sync();
    let change = {
        let mut fake = world.fake();
        fake.generation += 1;
        drop(fake);
        change(&mut world, 0, &[SetName::Frontends])
    };
    world.endpoints(3, 4);
    world.agent.foreign(change);
    world.sync();
    world.expect_clean();
}

#[test]
fn a_set_that_others_declared_anew_gets_all_of_its_elements() {
    let mut world = World::new(10);
    world.sync();
    {
        let mut fake = world.fake();
        for table in fake.ruleset.tables.values_mut() {
            let set = table.sets.get_mut(SetName::Endpoints.name()).unwrap();
            set.size = Some(7);
            set.elements = portolan_rules::ruleset::Elements::new();
        }
        fake.generation += 1;
    }
    // Also if the notification does not name the set.
    let change = change(&mut world, 0, &[]);
    world.agent.foreign(change);
    world.sync();
    world.expect_clean();
}

#[test]
fn lost_notifications_are_no_evidence() {
    let mut world = World::new(10);
    world.sync();
    let commits = world.fake().commits;
    world.agent.foreign(ForeignChange::default());
    world.sync();
    assert_eq!(world.fake().commits, commits);
    let read = world.fake().reads.last().cloned().unwrap();
    let single_ranges = |(_, set): &(Family, Name)| **set == *SetName::ServiceCidrs.name();
    assert!(
        read.iter().all(single_ranges),
        "no elements are read where as many are there as should be: {read:?}"
    );

    // A set that differs is found, and only that set is read.
    let key = {
        let mut fake = world.fake();
        fake.ruleset.tables.remove(&Family::Ip6);
        let table = fake.ruleset.tables.get_mut(&Family::Ip).unwrap();
        let set = table.sets.get_mut(SetName::Endpoints.name()).unwrap();
        let key = set.elements.keys().next().unwrap().clone();
        set.elements.remove(&key);
        (Family::Ip, Name::from(SetName::Endpoints.name()))
    };
    world.agent.foreign(ForeignChange::default());
    world.sync();
    world.expect_clean();
    let mut read = world.fake().reads.last().cloned().unwrap();
    read.retain(|set| !single_ranges(set));
    assert_eq!(read, Scope::from([key]));
}

#[test]
fn what_counts_did_not_show_is_found_by_the_next_full_comparison() {
    let mut world = World::new(10);
    world.sync();
    {
        let mut fake = world.fake();
        let table = fake.ruleset.tables.get_mut(&Family::Ip).unwrap();
        let set = table.sets.get_mut(SetName::Endpoints.name()).unwrap();
        let (key, other) =
            (set.elements.keys().next().unwrap().clone(), set.elements.values().last().unwrap().clone());
        set.elements.insert(key, other);
    }
    world.agent.foreign(ForeignChange::default());
    world.sync();
    world.agent.sync_for(Cause::Period).unwrap();
    world.expect_clean();
}
