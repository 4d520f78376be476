//! What is read and committed when the kernel is in doubt.

use portolan_rules::{
    plane::SetName,
    ruleset::{Family, Name},
};

use super::World;
use crate::{
    agent::ForeignChange,
    kernel::nftables::{Generation, Scope},
    observe::report::Cause,
};

fn change(world: &mut World, id_offset: i32, sets: &[SetName]) -> ForeignChange {
    let id = world.fake().generation.wrapping_add_signed(id_offset);
    ForeignChange {
        by: Some(Generation { id, thread: 2, process: "nft".into() }),
        sets: sets.iter().map(|set| (Family::Ip, set.name().into())).collect(),
    }
}

#[test]
fn only_the_sets_that_somebody_touched_are_read_back() {
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
    // The same again was seen by that reading already.
    let reads = world.fake().reads.len();
    world.agent.foreign(change);
    world.sync();
    assert_eq!(world.fake().reads.len(), reads);
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
fn a_set_that_somebody_declared_anew_gets_all_of_its_elements() {
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
    // Also if the notification does not name it.
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

    // What is different is found, and only that is read.
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
