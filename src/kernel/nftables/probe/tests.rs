//! Kernels that lack something, made up.

use portolan_rules::{
    compile::Compiler,
    model::LoadBalancing,
    plane::{Class, Config, Pick},
    ruleset::{Operation, Rule},
};

use super::*;
use crate::kernel::nftables::{libnftnl::Scratch, rule::Program};

/// A kernel that lacks what `lacks` says of an operation: gives the indices of the trials that it refuses.
fn kernel(
    lacks: impl Fn(Family, &Trial, &Operation) -> bool,
) -> impl FnMut(&[Trial]) -> Result<BTreeSet<usize>, Error> {
    move |trials| {
        let refuses =
            |trial: &Trial| trial.transaction.operations.iter().any(|(family, op)| lacks(*family, trial, op));
        Ok((0..trials.len()).filter(|index| refuses(&trials[*index])).collect())
    }
}

fn all() -> Vec<(Family, Feature)> {
    Family::ALL.into_iter().flat_map(|family| Feature::ALL.map(|feature| (family, feature))).collect()
}

/// The expressions of a rule.
fn names_of(family: Family, rule: &Rule) -> Vec<String> {
    Program::of(family, rule, &mut Scratch::default()).unwrap().names
}

/// A kernel whose rules may not have this expression.
fn without(expression: &'static str) -> impl FnMut(&[Trial]) -> Result<BTreeSet<usize>, Error> {
    kernel(move |family, _, operation| match operation {
        Operation::AddRule { rule, .. } => names_of(family, rule).iter().any(|name| name == expression),
        _ => false,
    })
}

fn features(missing: impl IntoIterator<Item = (Family, Feature)>) -> Features {
    let release = Release { release: "6.1.0".to_owned(), ..Release::default() };
    Features { release, missing: missing.into_iter().collect(), ..Features::default() }
}

fn counting() -> Config {
    Config { endpoint_counters: true, ..Config::default() }
}

fn in_both(feature: Feature) -> [(Family, Feature); 2] {
    Family::ALL.map(|family| (family, feature))
}

#[test]
fn an_expression_that_is_not_there_is_the_feature_of_that_name() {
    for (expression, feature) in [
        ("numgen", Feature::Numgen),
        ("hash", Feature::Hash),
        ("fib", Feature::Fib),
        ("masq", Feature::Masquerade),
        ("nat", Feature::Nat),
        ("ct", Feature::Conntrack),
        ("dynset", Feature::DynamicMaps),
    ] {
        let found = missing(&all(), &mut without(expression)).unwrap();
        assert_eq!(found, in_both(feature).into(), "{expression}");
    }
    let found = missing(&all(), &mut without("reject")).unwrap();
    let expected = [in_both(Feature::Reject), in_both(Feature::RejectBeforeRouting)].concat();
    assert_eq!(found, expected.into_iter().collect());
}

#[test]
fn what_is_found_wrong_only_once_all_else_is_right_is_found() {
    let mut lacks_counters =
        kernel(|_, _, operation| matches!(operation, Operation::AddSet(set) if set.counter));
    // Hooks are looked at when nothing was refused.
    let mut refuses_hooks = kernel(|_, trial, operation| {
        let hooked = matches!(operation, Operation::AddChain(chain) if chain.base.is_some());
        hooked && trial.transaction.table.contains("reject")
    });
    let mut rounds = 0;
    let found = missing(&all(), |trials| {
        rounds += 1;
        let refused = lacks_counters(trials)?;
        if refused.is_empty() { refuses_hooks(trials) } else { Ok(refused) }
    });
    let expected = [in_both(Feature::ElementCounters), in_both(Feature::RejectBeforeRouting)].concat();
    assert_eq!((found.unwrap(), rounds), (expected.into_iter().collect(), 3));
}

#[test]
fn a_kernel_without_tables_is_asked_until_nothing_is_left() {
    let found = missing(&all(), &mut kernel(|_, _, _| true)).unwrap();
    assert_eq!(found, all().into_iter().collect());
    let error = features(found).serve(&Config::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Linux 6.1.0 lacks what Portolan needs: nf_tables (CONFIG_NF_TABLES_IPV4), nf_tables \
         (CONFIG_NF_TABLES_IPV6)"
    );
}

#[test]
fn a_kernel_with_everything_serves_both_families() {
    let served = features([]).serve(&counting()).unwrap();
    assert_eq!(served, Served { families: Family::ALL.to_vec(), warnings: Vec::new() });
}

#[test]
fn what_both_families_lack_is_said_once_with_its_option() {
    let error = features(in_both(Feature::Numgen)).serve(&Config::default()).unwrap_err();
    assert_eq!(error.to_string(), "Linux 6.1.0 lacks what Portolan needs: numgen (CONFIG_NFT_NUMGEN)");
}

#[test]
fn what_follows_from_something_else_is_not_said() {
    let found = missing(
        &all(),
        &mut kernel(
            |_, _, operation| matches!(operation, Operation::AddChain(chain) if chain.base.is_some()),
        ),
    );
    let error = features(found.unwrap()).serve(&Config::default()).unwrap_err();
    assert_eq!(error.to_string(), "Linux 6.1.0 lacks what Portolan needs: nat (CONFIG_NFT_NAT)");
    let found = missing(&all(), &mut without("reject")).unwrap();
    let error = features(found).serve(&Config::default()).unwrap_err();
    let options = "CONFIG_NFT_REJECT, CONFIG_NFT_REJECT_IPV";
    assert_eq!(
        error.to_string(),
        format!("Linux 6.1.0 lacks what Portolan needs: reject ({options}4), reject ({options}6)")
    );
}

#[test]
fn a_family_that_cannot_be_served_is_left_out_with_a_line() {
    for (family, other, line) in [
        (Family::Ip6, Family::Ip, "IPv6 is not served: Linux 6.1.0 lacks nf_tables (CONFIG_NF_TABLES_IPV6)"),
        (Family::Ip, Family::Ip6, "IPv4 is not served: Linux 6.1.0 lacks nf_tables (CONFIG_NF_TABLES_IPV4)"),
    ] {
        // Without tables nothing else works either, which need not be said.
        let lacking = features(Feature::ALL.map(|feature| (family, feature)));
        let served = lacking.serve(&Config::default()).unwrap();
        assert_eq!(served, Served { families: vec![other], warnings: vec![line.to_owned()] });
    }
    let served = features([(Family::Ip6, Feature::Fib)]).serve(&Config::default()).unwrap();
    let line = "IPv6 is not served: Linux 6.1.0 lacks fib (CONFIG_NFT_FIB_IPV6)";
    assert_eq!(served, Served { families: vec![Family::Ip], warnings: vec![line.to_owned()] });
}

#[test]
fn what_is_not_asked_for_is_not_needed() {
    let lacking = features([in_both(Feature::ElementCounters), in_both(Feature::OwnedTables)].concat());
    assert_eq!(lacking.serve(&Config::default()).unwrap().families, Family::ALL);
    let error = lacking.serve(&counting()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Linux 6.1.0 lacks what Portolan needs: element-counters (CONFIG_NFT_COUNTER, Linux 5.7)"
    );
}

#[test]
fn a_kernel_that_forgets_ranges_is_warned_of() {
    let mut old = features([]);
    old.release.release = "5.15.0".to_owned();
    let served = old.serve(&Config::default()).unwrap();
    assert_eq!(served.families, Family::ALL);
    assert!(served.warnings[0].starts_with("Linux 5.15.0 has a fault in sets of ranges"), "{served:?}");
    old.release.release = "5.14.0-362.el9".to_owned();
    let served = old.serve(&Config::default()).unwrap();
    assert!(served.warnings[0].starts_with("Linux 5.14.0-362.el9 may have a fault"), "{served:?}");
}

#[test]
fn the_list_of_features_has_what_is_there() {
    let mut some = features([(Family::Ip6, Feature::Fib)]);
    some.missing.extend(in_both(Feature::OwnedTables));
    some.acknowledges = true;
    assert_eq!(
        some.to_string(),
        "nf_tables nat masquerade ct fib (ip only) numgen jhash reject reject-before-routing dynamic-maps \
         concatenated-ranges element-counters batch-acknowledgement"
    );
}

/// An expression that is added to the rules has to be added to the probe: what the rules are made of and the probe is not is
/// part of `nf_tables` itself.
#[test]
fn every_expression_of_the_rules_is_tried() {
    const BUILT_IN: [&str; 6] = ["payload", "meta", "cmp", "bitwise", "immediate", "lookup"];
    for family in Family::ALL {
        let names = |rules: &[Rule]| -> BTreeSet<String> {
            rules.iter().flat_map(|rule| names_of(family, rule)).collect()
        };
        let tried: Vec<Rule> = Feature::ALL
            .into_iter()
            .flat_map(|feature| feature.trial(family).transaction.operations)
            .filter_map(|(_, operation)| match operation {
                Operation::AddRule { rule, .. } => Some(rule),
                _ => None,
            })
            .collect();
        let mut tried = names(&tried);
        tried.extend(BUILT_IN.map(str::to_owned));
        let written = names(&written(family));
        assert!(written.contains("numgen") && written.contains("hash") && written.contains("dynset"));
        assert!(written.is_subset(&tried), "{:?}", written.difference(&tried));
    }
}

/// The rules that there always are, and those of classes that pick in each way.
fn written(family: Family) -> Vec<Rule> {
    let config = Config::default();
    let slots = |balancing| Pick::of_slots(3, balancing).unwrap();
    let [random, hashed] = [LoadBalancing::Random, LoadBalancing::SourceHash].map(slots);
    let classes = [
        Class::Cluster(random),
        Class::Cluster(hashed),
        Class::Local(Pick::Affinity(60)),
        Class::Remember(60),
    ];
    let mut chains: Vec<_> = classes.into_iter().flat_map(|class| class.chains(&config, family)).collect();
    chains.extend(Compiler::new(config).ruleset().tables.remove(&family).unwrap().chains.into_values());
    chains.into_iter().flat_map(|chain| chain.rules).collect()
}
