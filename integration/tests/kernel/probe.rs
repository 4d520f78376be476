//! Probing the kernel's features leaves no trace.

use portolan::kernel::nftables::{Feature, Tables};
use portolan_rules::{
    plane::Config,
    ruleset::{Family, Ruleset, Transaction},
};

use crate::{
    namespace::{commit, kernel, nft},
    tables::{create, data_plane, ruleset},
};

#[test]
fn this_kernel_has_what_every_run_needs() {
    let features = kernel().probe("portolan").unwrap();
    // Owned tables exist since Linux 6.9; they are not required.
    let missing = features.missing.iter().filter(|(_, feature)| *feature != Feature::OwnedTables);
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&(Family, Feature)>::new());
    assert!(features.checks_generation, "since Linux 4.12");
    let served = features.serve(&Config { endpoint_counters: true, ..Config::default() }).unwrap();
    assert_eq!(served.families, Family::ALL);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(features.release.release, release.trim());
}

#[test]
fn a_probe_commits_nothing() {
    let mut kernel = kernel();
    let before = kernel.generation().unwrap();
    let features = kernel.probe("portolan").unwrap();
    assert_eq!(kernel.generation().unwrap(), before);
    assert_eq!(nft(&["list", "ruleset"], None), "");
    // The socket works as before, and there was no set whose elements could be counted.
    commit(&mut kernel, &Transaction::new("portolan"));
    assert_eq!(kernel.dump("portolan").unwrap(), Ruleset::default());
    assert_eq!(features.counts_elements, None);
}

#[test]
fn a_probe_beside_our_tables_leaves_them_alone() {
    let mut kernel = kernel();
    commit(&mut kernel, &create(&ruleset(data_plane)));
    let before = kernel.dump("portolan").unwrap();
    let generation = kernel.generation().unwrap();
    let features = kernel.probe("portolan").unwrap();
    assert!(features.counts_elements.is_some(), "there are sets");
    assert_eq!(kernel.generation().unwrap(), generation);
    assert_eq!(kernel.dump("portolan").unwrap(), before);
}
